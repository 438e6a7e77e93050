"""The last events of cache channels, in a Redis that nodes share."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.interfaces import CachedEvent, StoreRefusedError
from reverb.redis.link import RedisLink
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.event_cache import EventCache
from reverb.stores.redis.scripts import CACHE_EVENT, GET_CACHED_EVENT


class RedisEventCache:
    """Remembers each channel's last event; for as long as Redis is away, in this process.

    Args:
        link: The way to Redis.
        session: This node's session there.
    """

    def __init__(self, link: RedisLink, session: RedisSession) -> None:
        self._link = link
        self._session = session
        self._kept = EventCache(link.clock.seconds)

    def put_back(self) -> "Iterator[Deferred[Any]]":
        """Bring to Redis, which is back, what was remembered meanwhile."""
        for key, kept in self._kept.take_all().items():
            ttl = _milliseconds(kept.ttl)
            putting = self._session.run(CACHE_EVENT, *key, kept.event, kept.data, ttl)
            yield putting.addErrback(self._keep, key, kept)

    def _keep(self, failure: Failure, key: ChannelKey, kept: CachedEvent) -> Failure:
        """Keep what has not been brought to Redis, unless something newer is kept by now."""
        if not failure.check(StoreRefusedError) and self._kept.get(key) is None:
            self._kept.put(key, kept.event, kept.data, kept.ttl)
        return failure

    async def put(self, key: ChannelKey, event: str, data: str, ttl: int) -> None:
        """Keep a channel's last event for ``ttl`` seconds."""
        try:
            await self._session.call(CACHE_EVENT, *key, event, data, _milliseconds(ttl))
        except LinkLostError:
            self._kept.put(key, event, data, ttl)

    async def get(self, key: ChannelKey) -> CachedEvent | None:
        """Find a channel's last event, after the bus has brought it if it brings it at all."""
        try:
            found = await self._session.call(GET_CACHED_EVENT, *key)
        except LinkLostError:
            return self._kept.get(key)
        except StoreRefusedError:
            found = None  # As if nothing was there: the next event takes its place.
        # It was published before it was remembered, and has come once the bus has caught up.
        await self._link.catch_up()
        if found is None:
            return None
        packed, ttl = found
        kept = self._session.reading.packed(packed, tuple[str, str], ":".join(("cache", *key)))
        return None if kept is None else CachedEvent(kept[0], kept[1], ttl / 1000)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
