"""The last event of each cache channel, in the Redis that the nodes share."""

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.interfaces import CachedEvent, StoreRefusedError
from reverb.protocol.events import StoredEventName
from reverb.redis.link import RedisLink
from reverb.redis.scripting import REQUIRE_SESSION, Script
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.event_cache import EventCache

CACHE_EVENT = Script(
    REQUIRE_SESSION
    + """
redis.call('SET', key('cache', ARGV[4], ARGV[5]), cmsgpack.pack({ARGV[6], ARGV[7]}),
  'PX', ARGV[8])
return 1
""",
    name="cache_event",
)
"""Cache the event with name ARGV[6] and data ARGV[7] of a channel, for ARGV[8] milliseconds.

The script runs only in the current session, so that a delayed command of an earlier session does
not replace a newer event. When a session ends, the node keeps in memory each event that Redis has
not confirmed, and writes these events to Redis when the node registers again.
"""

GET_CACHED_EVENT = Script(
    """
local cache = key('cache', ARGV[4], ARGV[5])
local packed = redis.call('GET', cache)
if not packed then
  return false
end
return {packed, redis.call('PTTL', cache)}
""",
    name="get_cached_event",
)
"""Return a channel's cached event in MessagePack and the milliseconds until it expires, or nil."""

SCRIPTS = (CACHE_EVENT, GET_CACHED_EVENT)
"""The scripts of this module; the store loads them after each connect."""


class RedisEventCache:
    """Keeps the last event of each channel in Redis, or in memory while Redis is out of reach.

    Args:
        link: The link to Redis.
        session: This node's session in Redis.
    """

    def __init__(self, link: RedisLink, session: RedisSession) -> None:
        self._link = link
        self._session = session
        self._fallback = EventCache(link.clock.seconds)

    def write_back(self) -> "Iterator[Deferred[Any]]":
        """Write to Redis the events that were kept in memory while Redis was out of reach.

        Yields:
            One Deferred for each event, which fires when Redis has stored the event. The Deferred
            fails with StoreRefusedError if Redis refuses only this event, which is then dropped.
            The Deferred fails with LinkLostError or RedisReplyError if Redis is out of reach or
            refuses all commands; the event is then in memory again, unless a newer one is there.
        """
        while (kept := self._fallback.pop()) is not None:
            key, cached = kept
            ttl = _milliseconds(cached.ttl)
            writing = self._session.run(CACHE_EVENT, *key, cached.event, cached.data, ttl)
            yield writing.addErrback(self._restore, key, cached)

    def _restore(self, failure: Failure, key: ChannelKey, cached: CachedEvent) -> Failure:
        """Put an event back into memory, unless Redis refused it or memory has a newer one."""
        if not failure.check(StoreRefusedError) and self._fallback.get(key) is None:
            self._fallback.put(key, cached.event, cached.data, cached.ttl)
        return failure

    async def put(self, key: ChannelKey, event: str, data: str, ttl: int) -> None:
        """Store a channel's last event for ``ttl`` seconds; in degraded mode, in memory.

        Raises:
            StoreRefusedError: Redis refused to store this event.
        """
        self._fallback.discard(key)  # The older event must not be written back to Redis.
        try:
            await self._session.call(CACHE_EVENT, *key, event, data, _milliseconds(ttl))
        except LinkLostError:
            self._fallback.put(key, event, data, ttl)

    def kept(self, key: ChannelKey) -> CachedEvent | None:
        """Return a channel's last event if it is kept in memory, otherwise None."""
        return self._fallback.get(key)

    async def get(self, key: ChannelKey) -> CachedEvent | None:
        """Return a channel's last event, or None if there is none or it has expired.

        If this node was subscribed to the channel when the event was published, the broker has
        delivered the publication before this method returns.
        """
        if (kept := self._fallback.get(key)) is not None:
            return kept  # Newer than the event in Redis, and not written back yet.
        try:
            found = await self._session.call(GET_CACHED_EVENT, *key)
        except LinkLostError:
            return self._fallback.get(key)
        except StoreRefusedError:
            found = None  # A corrupt key counts as empty; the next event overwrites it.
        # An event is published before it is cached. So the publication of this event is among
        # the messages that catch_up() waits for.
        await self._link.catch_up()
        if found is None:
            return None
        packed, raw_ttl = found
        decoder, redis_key = self._session.decoder, ":".join(("cache", *key))
        cached = decoder.msgpack(packed, tuple[StoredEventName, str], redis_key)
        ttl = decoder.number(raw_ttl, redis_key)  # Negative if the key does not expire.
        if cached is None or not ttl:
            return None
        return CachedEvent(cached[0], cached[1], ttl / 1000)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
