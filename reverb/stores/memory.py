"""The channel store of a node that is alone: everything in this process.

Every Deferred has fired when it is returned.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.interfaces import Cached, ChannelFullError, Counts, IChannelStore, Joined, Left
from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster

_NOBODY: Mapping[str, str] = MappingProxyType({})


class _Channel:
    """One channel's subscriptions, and the members they make."""

    __slots__ = ("roster", "sockets", "user_sockets")

    def __init__(self) -> None:
        self.sockets: dict[str, str | None] = {}
        """The user id of each socket id; None for subscribers who are no members."""
        self.roster = Roster()
        self.user_sockets: dict[str, int] = {}

    def join(self, socket_id: str, member: Member | None) -> bool:
        """Add a subscription; tell whether it added a member."""
        if member is None:
            self.sockets[socket_id] = None
            return False
        user_id = member.user_id
        self.sockets[socket_id] = user_id
        self.roster.add(user_id, member.user_info)
        here = self.user_sockets.get(user_id, 0)
        self.user_sockets[user_id] = here + 1
        return not here

    def leave(self, socket_id: str) -> str | None:
        """End a subscription; tell which member that removed."""
        user_id = self.sockets.pop(socket_id)
        if user_id is None:
            return None
        left = self.user_sockets[user_id] - 1
        if left:
            self.user_sockets[user_id] = left
            return None
        del self.user_sockets[user_id]
        self.roster.remove(user_id)
        return user_id

    def counts(self) -> Counts:
        return Counts(len(self.sockets), len(self.roster))


@implementer(IChannelStore)
class MemoryStore:
    """Keeps channels in dictionaries.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    connected = True

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._connections: dict[str, set[str]] = {}
        self._channels: dict[str, dict[str, _Channel]] = {}
        # In the order of writing, which with one time to live is that of expiry.
        self._cache: dict[tuple[str, str], tuple[str, str, float]] = {}

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
    ) -> "Deferred[Joined]":
        """Add a subscription."""
        channels = self._channels.setdefault(app_id, {})
        here = channels.get(channel)
        if member is not None and max_members:
            users = here.roster if here is not None else _NOBODY
            if member.user_id not in users and len(users) >= max_members:
                return fail(ChannelFullError(f"{channel} has {max_members} members"))
        occupied = here is None
        if here is None:
            here = channels[channel] = _Channel()
        added = here.join(socket_id, member)
        members = _NOBODY if member is None else here.roster
        return succeed(Joined(occupied, added, len(here.sockets), members))

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[Left | None]":
        """End a subscription; a channel without any is forgotten."""
        channels = self._channels.get(app_id, {})
        here = channels.get(channel)
        if here is None or socket_id not in here.sockets:
            return succeed(None)
        removed = here.leave(socket_id)
        vacated = not here.sockets
        if vacated:
            del channels[channel]
        return succeed(Left(vacated, removed, len(here.sockets)))

    def members(self, app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """List a presence channel's members."""
        here = self._channels.get(app_id, {}).get(channel)
        return succeed(_NOBODY if here is None else here.roster)

    def counts(self, app_id: str, channel: str) -> "Deferred[Counts]":
        """Count a channel's subscriptions and users."""
        here = self._channels.get(app_id, {}).get(channel)
        return succeed(Counts(0, 0) if here is None else here.counts())

    def channels(self, app_id: str, prefix: str) -> "Deferred[Mapping[str, Counts]]":
        """List the occupied channels."""
        channels = self._channels.get(app_id, {})
        return succeed({n: c.counts() for n, c in channels.items() if n.startswith(prefix)})

    def remember(
        self, app_id: str, channel: str, event: str, data: str, ttl: int
    ) -> "Deferred[None]":
        """Keep a cache channel's last event, and forget those that have expired."""
        now = self._seconds()
        self._cache.pop((app_id, channel), None)
        self._cache[app_id, channel] = (event, data, now + ttl)
        while self._cache:
            oldest = next(iter(self._cache))
            if self._cache[oldest][2] > now:
                break
            del self._cache[oldest]
        return succeed(None)

    def recall(self, app_id: str, channel: str) -> "Deferred[Cached | None]":
        """Find a cache channel's last event."""
        event, data, expires = self._cache.get((app_id, channel), ("", "", 0.0))
        left = expires - self._seconds()
        if left <= 0:
            self._cache.pop((app_id, channel), None)
            return succeed(None)
        return succeed(Cached(event, data, left))
