"""The subscriptions to one channel, in this process's memory."""

from collections.abc import Mapping
from types import MappingProxyType

from reverb.interfaces import ChannelCounts
from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster

ChannelKey = tuple[str, str]
"""An app's id and a channel's name."""

NO_MEMBERS: Mapping[str, str] = MappingProxyType({})
"""The members of a channel without members: an empty, read-only mapping."""


class ChannelSubscriptions:
    """The subscriptions to one channel, and the members of a presence channel.

    A user is a member while the user has at least one subscription.

    Attributes:
        sockets: Maps the socket id of each subscriber to the subscriber's user id, or to None if
            the channel is not a presence channel.
        roster: The members.
        sockets_per_user: Maps the user id of each member to the number of the user's subscriptions.
    """

    __slots__ = ("roster", "sockets", "sockets_per_user")

    def __init__(self) -> None:
        self.sockets: dict[str, str | None] = {}
        self.roster = Roster()
        self.sockets_per_user: dict[str, int] = {}

    def join(self, socket_id: str, member: Member | None) -> bool:
        """Add a subscription, and return whether its user becomes a new member."""
        if member is None:
            self.sockets[socket_id] = None
            return False
        user_id = member.user_id
        self.sockets[socket_id] = user_id
        self.roster.add(user_id, member.user_info)
        count = self.sockets_per_user.get(user_id, 0)
        self.sockets_per_user[user_id] = count + 1
        return not count

    def leave(self, socket_id: str) -> str | None:
        """Remove a subscription.

        Returns:
            The user's id if the user's last subscription to the channel has ended; otherwise None.
        """
        user_id = self.sockets.pop(socket_id)
        if user_id is None:
            return None
        remaining = self.sockets_per_user[user_id] - 1
        if remaining:
            self.sockets_per_user[user_id] = remaining
            return None
        del self.sockets_per_user[user_id]
        self.roster.remove(user_id)
        return user_id

    def counts(self) -> ChannelCounts:
        """Return the numbers of subscriptions and of distinct users."""
        return ChannelCounts(len(self.sockets), len(self.roster))
