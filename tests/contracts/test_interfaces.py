"""Each implementation has the methods of its interface, with the same signatures."""

import pytest
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyClass, verifyObject

from reverb.brokers.local import LocalBroker
from reverb.interfaces import IApps, IBroker, IChannelStore, IConnection
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import HeldBroker, MemoryConnection, MemoryServer, WebhookReceiver
from reverb.webhooks.cluster.archive import ClusterArchive
from reverb.webhooks.cluster.interfaces import ILeadership, IWebhookClusterStore
from reverb.webhooks.cluster.redis_leadership import RedisLeadership
from reverb.webhooks.cluster.redis_store import RedisWebhookStore
from reverb.webhooks.cluster.service import ClusterWebhooks
from reverb.webhooks.delivery_factory import IdGenerator
from reverb.webhooks.interfaces import (
    IDeliveryArchive,
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
    wants_app=bool,
    debounce=3,
    clock=MemoryReactorClock(),
    journal=Journal(),
    ids=IdGenerator(float),
)


@pytest.mark.parametrize(
    ("interface", "implementation"),
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
def test_an_implementation_provides_its_interface(interface, implementation):
    assert verifyClass(interface, type(implementation))
    assert verifyObject(interface, implementation)


@pytest.mark.parametrize(
    ("interface", "implementation"),
    [
        (IDeliveryArchive, JournalArchive),
        (IDeliveryArchive, ClusterArchive),
        (ILeadership, RedisLeadership),
        (IWebhookClusterStore, RedisWebhookStore),
        (IWebhooks, SingleNodeWebhooks),
        (IWebhooks, ClusterWebhooks),
    ],
    ids=lambda value: value.__name__,
)
def test_a_class_that_is_costly_to_build_provides_its_interface(interface, implementation):
    assert verifyClass(interface, implementation)


def test_the_connection_of_a_websocket_client_provides_its_interface():
    server = MemoryServer()
    server.client()
    (session,) = server.service.hub.sessions.values()

    assert verifyObject(IConnection, session.connection)
    server.stop()
