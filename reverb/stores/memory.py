"""The channel store of a single node, in this process's memory.

Every method returns a Deferred that has already fired.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.interfaces import CachedEvent, ChannelCounts, ChannelFullError, IChannelStore
from reverb.protocol.changes import JoinResult, LeaveResult, StoreChange
from reverb.protocol.messages import Member
from reverb.stores.channel_subscriptions import NO_MEMBERS, ChannelSubscriptions
from reverb.stores.event_cache import EventCache


@implementer(IChannelStore)
class MemoryStore:
    """A channel store that keeps its data in dictionaries.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    connected = True

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._connections: dict[str, set[str]] = {}
        self._channels: dict[str, dict[str, ChannelSubscriptions]] = {}
        self._cache = EventCache(seconds)

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Do nothing: there is no other node whose changes this store could report."""
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Do nothing: the memory store needs no cleanup."""
        return succeed(None)

    def connect(self, app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection, unless the app already has ``limit`` connections (0: no limit)."""
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
        """Return the number of the app's connections."""
        return succeed(len(self._connections.get(app_id, ())))

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription, and return its effect; fail if the channel is full."""
        channels = self._channels.setdefault(app_id, {})
        subscriptions = channels.get(channel)
        if member is not None and max_members:
            users = NO_MEMBERS if subscriptions is None else subscriptions.roster
            if member.user_id not in users and len(users) >= max_members:
                return fail(ChannelFullError(f"{channel} has {max_members} members"))
        occupied = subscriptions is None
        if subscriptions is None:
            subscriptions = channels[channel] = ChannelSubscriptions()
        added = subscriptions.join(socket_id, member)
        members = NO_MEMBERS if member is None else subscriptions.roster
        return succeed(JoinResult(occupied, added, len(subscriptions.sockets), members))

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """Remove a subscription, and return the effect; None if the subscription did not exist."""
        channels = self._channels.get(app_id, {})
        subscriptions = channels.get(channel)
        if subscriptions is None or socket_id not in subscriptions.sockets:
            return succeed(None)
        removed = subscriptions.leave(socket_id)
        vacated = not subscriptions.sockets
        if vacated:
            del channels[channel]
        return succeed(LeaveResult(vacated, removed, len(subscriptions.sockets)))

    def members(self, app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """Return a presence channel's members, as a view that shows later changes too."""
        subscriptions = self._channels.get(app_id, {}).get(channel)
        return succeed(NO_MEMBERS if subscriptions is None else subscriptions.roster)

    def counts(self, app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Return the numbers of a channel's subscriptions and distinct users."""
        subscriptions = self._channels.get(app_id, {}).get(channel)
        return succeed(ChannelCounts(0, 0) if subscriptions is None else subscriptions.counts())

    def occupied(self, app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Return whether each of the given channels is occupied."""
        occupied = self._channels.get(app_id, {})
        return succeed({channel: channel in occupied for channel in channels})

    def channels(self, app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """Return the counts of the occupied channels whose names begin with the prefix."""
        channels = self._channels.get(app_id, {})
        return succeed({n: c.counts() for n, c in channels.items() if n.startswith(prefix)})

    def cache_event(
        self, app_id: str, channel: str, event: str, data: str, ttl: int
    ) -> "Deferred[None]":
        """Store a cache channel's last event for ``ttl`` seconds."""
        self._cache.put((app_id, channel), event, data, ttl)
        return succeed(None)

    def get_cached_event(self, app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Return a cache channel's last event, or None if there is none or it has expired."""
        return succeed(self._cache.get((app_id, channel)))
