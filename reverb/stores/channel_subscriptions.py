"""Who is subscribed to a channel, in this process's memory."""

from collections.abc import Mapping
from types import MappingProxyType

from reverb.interfaces import ChannelCounts
from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster

ChannelKey = tuple[str, str]
"""An app's id and a channel's name."""

NOBODY: Mapping[str, str] = MappingProxyType({})
"""The members of a channel that has none."""


class ChannelSubscriptions:
    """One channel's subscriptions, and the members they make.

    Attributes:
        sockets: The user id of each socket id; None for subscribers who are no members.
        roster: The members.
        user_sockets: How many subscriptions each user has.
    """

    __slots__ = ("roster", "sockets", "user_sockets")

    def __init__(self) -> None:
        self.sockets: dict[str, str | None] = {}
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

    def counts(self) -> ChannelCounts:
        """Count the subscriptions and the users."""
        return ChannelCounts(len(self.sockets), len(self.roster))
