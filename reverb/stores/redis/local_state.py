"""What one of several nodes holds and knows, and what it answers while it is alone."""

from collections.abc import Callable, Mapping

from reverb.interfaces import (
    Change,
    ChannelFullError,
    Counts,
    Joined,
    Left,
    MemberCame,
    MemberWent,
)
from reverb.protocol.messages import Member
from reverb.stores.channel_subscriptions import NOBODY, Key, Subscriptions
from reverb.stores.redis.member_replica import View


class Share:
    """This node's connections and subscriptions.

    Args:
        changed: Called with the members who come and go.
        look_again: Called when a channel's list of members is needed anew.

    Attributes:
        connections: The socket ids of each app that has any.
        channels: The channels with subscriptions of this node.
        views: What this node's subscribers know of the members of presence
            channels; each of them is one of the channels.
    """

    def __init__(
        self, changed: Callable[[Change], None], look_again: Callable[[Key], None]
    ) -> None:
        self._changed = changed
        self._look_again = look_again
        self.connections: dict[str, set[str]] = {}
        self.channels: dict[Key, Subscriptions] = {}
        self.views: dict[Key, View] = {}

    # Connections

    def connect(self, app_id: str, socket_id: str) -> int:
        """Count a connection; tell how many there are now."""
        sockets = self.connections.setdefault(app_id, set())
        sockets.add(socket_id)
        return len(sockets)

    def disconnect(self, app_id: str, socket_id: str) -> bool:
        """Stop counting a connection; tell whether it was counted."""
        sockets = self.connections.get(app_id, set())
        if socket_id not in sockets:
            return False
        sockets.remove(socket_id)
        if not sockets:
            del self.connections[app_id]
        return True

    # Subscriptions

    def join(self, key: Key, socket_id: str, member: Member | None) -> tuple[View | None, bool]:
        """Add a subscription.

        Returns:
            What a member's fellows know of the members, and whether the
            member is new to this node and to them.
        """
        is_first = self.channels.setdefault(key, Subscriptions()).join(socket_id, member)
        if member is None:
            return None, False
        view = self.views.get(key)
        if view is None:
            app_id, channel = key
            view = self.views[key] = View(
                came=lambda member: self._changed(MemberCame(app_id, channel, member)),
                went=lambda user_id: self._changed(MemberWent(app_id, channel, user_id)),
                look_again=lambda: self._miss(key),
            )
        return view, is_first and member.user_id not in view.roster

    def _miss(self, key: Key) -> None:
        # A late list may have told of it, as nobody here is subscribed any more.
        if key in self.views:
            self._look_again(key)

    def leave(self, key: Key, socket_id: str) -> str | None:
        """End a subscription; tell which member has no other on this node."""
        here = self.channels[key]
        removed = here.leave(socket_id)
        if not here.sockets:
            del self.channels[key]
            self.views.pop(key, None)
        return removed

    def go_alone(self) -> None:
        """Go on without the other nodes: those who wait for news of them do not any more."""
        for key, view in self.views.items():
            for user_id, user_info in self.channels[key].roster.items():
                view.add(Member(user_id, user_info))
        # Only now: what those do who are let go may end any subscription.
        for view in list(self.views.values()):
            view.let_go()

    def end_doubts(self) -> None:
        """Believe that members who were not in the list are not there any more."""
        for view in list(self.views.values()):
            view.end_doubts()

    def check_bus(self) -> None:
        """Look whether anybody waits too long for news of members."""
        for view in list(self.views.values()):
            view.check_bus()

    # Answers of a node that is alone

    def joined_alone(
        self,
        key: Key,
        socket_id: str,
        member: Member | None,
        max_members: int,
        *,
        is_new: bool,
    ) -> Joined:
        """Say what a subscription has changed, as far as this node knows.

        Args:
            key: The channel.
            socket_id: The subscriber's.
            member: Who has joined.
            max_members: Users that the channel may have, 0 for any number.
            is_new: What :meth:`join` has said.

        Raises:
            ChannelFullError: The subscription has been ended again.
        """
        here = self.channels[key]
        count = len(here.sockets)
        if member is None:
            return Joined(count == 1, added=False, subscriptions=count, members=NOBODY)
        view = self.views[key]
        others = len(view.roster) - (member.user_id in view.roster)
        if is_new and max_members and others >= max_members:
            if self.leave(key, socket_id) is not None:
                view.remove(member.user_id)
            raise ChannelFullError(f"{key[1]} has {max_members} members")
        view.add(member)
        return Joined(count == 1, is_new, count, view.roster, announced=True)

    def left_alone(self, key: Key, removed: str | None) -> Left:
        """Say what the end of a subscription has changed, as far as this node knows.

        Args:
            key: The channel.
            removed: What :meth:`leave` has said.
        """
        here = self.channels.get(key)
        if here is None:
            return Left(vacated=True, removed=removed, subscriptions=0, announced=True)
        if removed in here.user_sockets:  # It has come back while the store was asked.
            removed = None
        if removed is not None and key in self.views:
            self.views[key].remove(removed)
        count = len(here.sockets)
        return Left(vacated=False, removed=removed, subscriptions=count, announced=True)

    def members(self, key: Key) -> Mapping[str, str]:
        """List the members that this node knows of."""
        view = self.views.get(key)
        return NOBODY if view is None else dict(view.roster)

    def counts(self, key: Key) -> Counts:
        """Count this node's subscriptions and users."""
        here = self.channels.get(key)
        return Counts(0, 0) if here is None else here.counts()

    def occupied(self, app_id: str, prefix: str) -> dict[str, Counts]:
        """List the channels with subscriptions of this node."""
        return {
            channel: here.counts()
            for (of, channel), here in self.channels.items()
            if of == app_id and channel.startswith(prefix)
        }
