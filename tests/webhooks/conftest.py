"""Fixtures: in-memory servers with one app, whose webhooks go to an in-memory receiver."""

import pytest

from reverb.apps import App, Webhook
from reverb.testing import MemoryServer, WebhookReceiver

URL = "https://example.com/hook"


@pytest.fixture
def receiver():
    return WebhookReceiver()


@pytest.fixture
def start(servers, receiver):
    """Start a server with the given webhooks; by default one webhook for all events."""

    def start_server(*webhooks, service=None, **settings):
        app = App(
            id="1",
            key="key",
            secret="secret",
            webhooks=webhooks or (Webhook(url=URL),),
            client_events="all",
        )
        options = {} if service is None else {"service": service}
        servers.append(MemoryServer(app, receiver=receiver, **options, **settings))
        return servers[-1]

    return start_server


@pytest.fixture
def server(start):
    return start()
