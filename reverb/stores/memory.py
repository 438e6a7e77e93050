"""The channel store of a node that is alone: everything in this process.

Every Deferred has fired when it is returned.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    ChannelFullError,
    IChannelStore,
    JoinResult,
    LeaveResult,
    StoreChange,
)
from reverb.protocol.messages import Member
from reverb.stores.channel_subscriptions import NOBODY, ChannelSubscriptions
from reverb.stores.event_cache import EventCache


@implementer(IChannelStore)
class MemoryStore:
    """Keeps channels in dictionaries.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    connected = True

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._connections: dict[str, set[str]] = {}
        self._channels: dict[str, dict[str, ChannelSubscriptions]] = {}
        self._cache = EventCache(seconds)

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Have nothing to do: nothing happens elsewhere."""
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Have nothing to do."""
        return succeed(None)

    def connect(self, app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection, unless it is one too many."""
        sockets = self._connections.setdefault(app_id, set())
        admitted = not limit or len(sockets) < limit
        if admitted:
            sockets.add(socket_id)
        return succeed(admitted)

    def disconnect(self, app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection."""
        self._connections.get(app_id, set()).discard(socket_id)
        return succeed(None)

    def connections(self, app_id: str) -> "Deferred[int]":
        """Count the connections."""
        return succeed(len(self._connections.get(app_id, ())))

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription."""
        channels = self._channels.setdefault(app_id, {})
        here = channels.get(channel)
        if member is not None and max_members:
            users = here.roster if here is not None else NOBODY
            if member.user_id not in users and len(users) >= max_members:
                return fail(ChannelFullError(f"{channel} has {max_members} members"))
        occupied = here is None
        if here is None:
            here = channels[channel] = ChannelSubscriptions()
        added = here.join(socket_id, member)
        members = NOBODY if member is None else here.roster
        return succeed(JoinResult(occupied, added, len(here.sockets), members))

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription; a channel without any is forgotten."""
        channels = self._channels.get(app_id, {})
        here = channels.get(channel)
        if here is None or socket_id not in here.sockets:
            return succeed(None)
        removed = here.leave(socket_id)
        vacated = not here.sockets
        if vacated:
            del channels[channel]
        return succeed(LeaveResult(vacated, removed, len(here.sockets)))

    def members(self, app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """List a presence channel's members."""
        here = self._channels.get(app_id, {}).get(channel)
        return succeed(NOBODY if here is None else here.roster)

    def counts(self, app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Count a channel's subscriptions and users."""
        here = self._channels.get(app_id, {}).get(channel)
        return succeed(ChannelCounts(0, 0) if here is None else here.counts())

    def occupied(self, app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Tell which channels somebody is subscribed to."""
        here = self._channels.get(app_id, {})
        return succeed({channel: channel in here for channel in channels})

    def channels(self, app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """List the occupied channels."""
        channels = self._channels.get(app_id, {})
        return succeed({n: c.counts() for n, c in channels.items() if n.startswith(prefix)})

    def cache_event(
        self, app_id: str, channel: str, event: str, data: str, ttl: int
    ) -> "Deferred[None]":
        """Keep a cache channel's last event, and forget those that have expired."""
        self._cache.put((app_id, channel), event, data, ttl)
        return succeed(None)

    def get_cached_event(self, app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Find a cache channel's last event."""
        return succeed(self._cache.get((app_id, channel)))
