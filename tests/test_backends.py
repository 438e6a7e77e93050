"""The broker and the store that the settings name."""

import pytest
from twisted.internet.task import Clock

from reverb.backends import WrongReactorError, build_backends
from reverb.brokers.local import LocalBroker
from reverb.settings import Settings
from reverb.stores.memory import MemoryStore


def test_a_single_node_keeps_everything_in_memory():
    broker, store = build_backends(Settings(), Clock(), None, None)

    assert (type(broker), type(store)) == (LocalBroker, MemoryStore)


@pytest.mark.parametrize("settings", [{"redis": "redis://h"}, {"broker": "nats://h"}])
def test_an_own_broker_and_store_replace_the_configured_ones_only_together(settings):
    broker, store = LocalBroker(), MemoryStore(Clock().seconds)

    assert build_backends(Settings(**settings), Clock(), broker, store) == (broker, store)
    for given in ((broker, None), (None, store)):
        with pytest.raises(ValueError, match="give both a broker and a store of your own"):
            build_backends(Settings(**settings), Clock(), *given)


def test_nats_needs_the_asyncio_reactor():
    with pytest.raises(WrongReactorError, match="--reactor asyncio"):
        build_backends(Settings(broker="nats://h"), Clock(), None, None)
