"""What says that it provides an interface has its methods, with their signatures."""

import pytest
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyClass, verifyObject

from reverb.brokers.local import LocalBroker
from reverb.interfaces import IApps, IBroker, IChannelStore, IConnection
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import HeldBroker, MemoryConnection, MemoryServer, WebhookReceiver
from reverb.webhooks.cluster.archive import ClusterArchive
from reverb.webhooks.cluster.redis_store import RedisWebhookStore
from reverb.webhooks.cluster.service import ClusterWebhooks
from reverb.webhooks.interfaces import (
    IDeliveryArchive,
    IWebhookClusterStore,
    IWebhookEventSource,
    IWebhooks,
    IWebhookTransport,
)
from reverb.webhooks.single.archive import JournalArchive
from reverb.webhooks.single.event_source import HubEventSource
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.service import SingleNodeWebhooks
from reverb.webhooks.transport import HttpTransport

LOCAL_EVENTS = HubEventSource(
    lambda listener: None,
    wanted=bool,
    debounce=3,
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
        (IWebhookEventSource, LOCAL_EVENTS),
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
        (IDeliveryArchive, JournalArchive),
        (IDeliveryArchive, ClusterArchive),
        (IWebhookClusterStore, RedisWebhookStore),
        (IWebhooks, SingleNodeWebhooks),
        (IWebhooks, ClusterWebhooks),
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
