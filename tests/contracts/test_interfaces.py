"""What says that it provides an interface has its methods, with their signatures."""

import pytest
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyClass, verifyObject

from reverb.brokers.local import LocalBroker
from reverb.interfaces import IApps, IBroker, IChannelStore, IConnection
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import HeldBroker, MemoryConnection, MemoryServer, WebhookReceiver
from reverb.webhooks.cluster.archive import SharedArchive
from reverb.webhooks.cluster.redis_store import RedisWebhooks
from reverb.webhooks.cluster.service import SharedWebhooks
from reverb.webhooks.interfaces import (
    IArchive,
    ISharedWebhooks,
    IWebhookEvents,
    IWebhooks,
    IWebhookTransport,
)
from reverb.webhooks.single.archive import LocalArchive
from reverb.webhooks.single.event_source import LocalEvents
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.service import Webhooks
from reverb.webhooks.transport import HttpTransport

LOCAL_EVENTS = LocalEvents(
    lambda watcher: None,
    wanted=bool,
    smoothing=3,
    clock=MemoryReactorClock(),
    journal=Journal(),
    next_id=str,
)


@pytest.mark.parametrize(
    ("interface", "thing"),
    [
        (IApps, StaticApps([])),
        (IBroker, LocalBroker()),
        (IBroker, HeldBroker()),
        (IChannelStore, MemoryStore(float)),
        (IConnection, MemoryConnection()),
        (IWebhookEvents, LOCAL_EVENTS),
        (IWebhookTransport, WebhookReceiver()),
        (IWebhookTransport, HttpTransport(MemoryReactorClock(), allow_private=True)),
    ],
    ids=lambda value: type(value).__name__ if not hasattr(value, "names") else value.__name__,
)
def test_an_implementation(interface, thing):
    assert verifyClass(interface, type(thing))
    assert verifyObject(interface, thing)


@pytest.mark.parametrize(
    ("interface", "implementation"),
    [
        (IArchive, LocalArchive),
        (IArchive, SharedArchive),
        (ISharedWebhooks, RedisWebhooks),
        (IWebhooks, Webhooks),
        (IWebhooks, SharedWebhooks),
    ],
    ids=lambda value: value.__name__,
)
def test_an_implementation_that_takes_much_to_build(interface, implementation):
    assert verifyClass(interface, implementation)


def test_the_connection_of_a_real_client():
    server = MemoryServer()
    server.client()
    (session,) = server.service.hub.sessions.values()

    assert verifyObject(IConnection, session.connection)
    server.stop()
