"""Servers in memory with one app, whose webhooks go to a receiver in memory."""

import pytest

from reverb.apps import App, Webhook
from reverb.testing import MemoryServer, WebhookReceiver

URL = "https://example.com/hook"


@pytest.fixture
def receiver():
    return WebhookReceiver()


@pytest.fixture
def start(servers, receiver):
    """Start a server with webhooks; one that wants everything, if none is given."""

    def start_server(*webhooks, service=None, **settings):
        app = App(
            id="1",
            key="key",
            secret="secret",
            webhooks=webhooks or (Webhook(url=URL),),
            client_events="all",
        )
        more = {} if service is None else {"service": service}
        servers.append(MemoryServer(app, receiver=receiver, **more, **settings))
        return servers[-1]

    return start_server


@pytest.fixture
def server(start):
    return start()
