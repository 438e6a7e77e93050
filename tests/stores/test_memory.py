"""The memory store beyond the contract: its Deferreds have fired, and it leaks no memory."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.protocol.messages import Member
from reverb.stores.memory import MemoryStore

ANN = Member("ann", "{}")


def test_every_deferred_has_fired_when_it_is_returned():
    store = MemoryStore(Clock().seconds)
    results = [
        store.connect("1", "1.1", 1),
        store.connections("1"),
        store.join("1", "presence-x", "1.1", ANN, 1),
        store.members("1", "presence-x"),
        store.counts("1", "presence-x"),
        store.channels("1", ""),
        store.cache_event("1", "cache-x", "e", "1", 1),
        store.get_cached_event("1", "cache-x"),
        store.leave("1", "presence-x", "1.1"),
        store.disconnect("1", "1.1"),
    ]

    for result in results:
        assert isinstance(result, Deferred)
        assert result.called


def test_a_vacated_channel_is_deleted():
    store = MemoryStore(Clock().seconds)
    for number in range(100):
        store.join("1", f"presence-{number}", "1.1", ANN, 0)
        store.leave("1", f"presence-{number}", "1.1")

    assert store._channels == {"1": {}}


def test_connections_that_ended_are_deleted():
    store = MemoryStore(Clock().seconds)
    for number in range(100):
        store.connect("1", f"{number}.1", 0)
        store.disconnect("1", f"{number}.1")

    assert not any(store._connections.values())


def test_caching_an_event_deletes_expired_events():
    clock = Clock()
    store = MemoryStore(clock.seconds)
    for number in range(100):
        store.cache_event("1", f"cache-{number}", "e", "1", 60)
    clock.advance(59)
    store.cache_event("1", "cache-0", "e", "2", 60)
    assert len(store._cache) == 100
    clock.advance(1)
    store.cache_event("1", "cache-y", "e", "1", 60)

    assert list(store._cache._events) == [("1", "cache-0"), ("1", "cache-y")]


def test_an_expired_event_is_deleted_when_it_is_requested():
    clock = Clock()
    store = MemoryStore(clock.seconds)
    store.cache_event("1", "cache-x", "e", "1", 60)
    clock.advance(60)

    assert store.get_cached_event("1", "cache-x").result is None
    assert len(store._cache) == 0


def test_the_returned_members_are_read_only():
    store = MemoryStore(Clock().seconds)
    joined = store.join("1", "presence-x", "1.1", ANN, 0).result

    for members in (joined.members, store.members("1", "presence-x").result):
        assert not hasattr(members, "pop")
        assert not hasattr(members, "__setitem__")
