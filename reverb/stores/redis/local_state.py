"""What one of several nodes holds and knows, and what it answers while it is alone."""

from collections.abc import Callable, Mapping

from reverb.interfaces import (
    ChannelCounts,
    ChannelFullError,
    JoinResult,
    LeaveResult,
    MemberJoined,
    MemberLeft,
    StoreChange,
)
from reverb.protocol.messages import Member
from reverb.stores.channel_subscriptions import NOBODY, ChannelKey, ChannelSubscriptions
from reverb.stores.redis.member_replica import MemberReplica


class LocalState:
    """This node's connections and subscriptions.

    Args:
        changed: Called with the members who come and go.
        recheck: Called when a channel's list of members is needed anew.

    Attributes:
        connections: The socket ids of each app that has any.
        channels: The channels with subscriptions of this node.
        views: What this node's subscribers know of the members of presence
            channels; each of them is one of the channels.
    """

    def __init__(
        self, changed: Callable[[StoreChange], None], recheck: Callable[[ChannelKey], None]
    ) -> None:
        self._changed = changed
        self._look_again = recheck
        self.connections: dict[str, set[str]] = {}
        self.channels: dict[ChannelKey, ChannelSubscriptions] = {}
        self.views: dict[ChannelKey, MemberReplica] = {}

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

    def join(
        self, key: ChannelKey, socket_id: str, member: Member | None
    ) -> tuple[MemberReplica | None, bool]:
        """Add a subscription.

        Returns:
            What a member's fellows know of the members, and whether the
            member is new to this node and to them.
        """
        is_first = self.channels.setdefault(key, ChannelSubscriptions()).join(socket_id, member)
        if member is None:
            return None, False
        view = self.views.get(key)
        if view is None:
            app_id, channel = key
            view = self.views[key] = MemberReplica(
                came=lambda member: self._changed(MemberJoined(app_id, channel, member)),
                went=lambda user_id: self._changed(MemberLeft(app_id, channel, user_id)),
                recheck=lambda: self._miss(key),
            )
        return view, is_first and member.user_id not in view.roster

    def _miss(self, key: ChannelKey) -> None:
        # A late list may have told of it, as nobody here is subscribed any more.
        if key in self.views:
            self._look_again(key)

    def leave(self, key: ChannelKey, socket_id: str) -> str | None:
        """End a subscription; tell which member has no other on this node."""
        here = self.channels[key]
        removed = here.leave(socket_id)
        if not here.sockets:
            del self.channels[key]
            self.views.pop(key, None)
        return removed

    def enter_degraded_mode(self) -> None:
        """Go on without the other nodes: those who wait for news of them do not any more."""
        for key, view in self.views.items():
            for user_id, user_info in self.channels[key].roster.items():
                view.add(Member(user_id, user_info))
        # Only now: what those do who are let go may end any subscription.
        for view in list(self.views.values()):
            view.detach()

    def drop_unconfirmed(self) -> None:
        """Believe that members who were not in the list are not there any more."""
        for view in list(self.views.values()):
            view.drop_unconfirmed()

    def on_heartbeat(self) -> None:
        """Look whether anybody waits too long for news of members."""
        for view in list(self.views.values()):
            view.on_heartbeat()

    # Answers of a node that is alone

    def degraded_join(
        self,
        key: ChannelKey,
        socket_id: str,
        member: Member | None,
        max_members: int,
        *,
        is_new: bool,
    ) -> JoinResult:
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
            return JoinResult(count == 1, added=False, subscriptions=count, members=NOBODY)
        view = self.views[key]
        others = len(view.roster) - (member.user_id in view.roster)
        if is_new and max_members and others >= max_members:
            if self.leave(key, socket_id) is not None:
                view.remove(member.user_id)
            raise ChannelFullError(f"{key[1]} has {max_members} members")
        view.add(member)
        return JoinResult(count == 1, is_new, count, view.roster, announced=True)

    def is_known_offline(self, key: ChannelKey, removed: str | None) -> LeaveResult:
        """Say what the end of a subscription has changed, as far as this node knows.

        Args:
            key: The channel.
            removed: What :meth:`leave` has said.
        """
        here = self.channels.get(key)
        if here is None:
            return LeaveResult(vacated=True, removed=removed, subscriptions=0, announced=True)
        if removed in here.user_sockets:  # It has come back while the store was asked.
            removed = None
        if removed is not None and key in self.views:
            self.views[key].remove(removed)
        count = len(here.sockets)
        return LeaveResult(vacated=False, removed=removed, subscriptions=count, announced=True)

    def members(self, key: ChannelKey) -> Mapping[str, str]:
        """List the members that this node knows of."""
        view = self.views.get(key)
        return NOBODY if view is None else dict(view.roster)

    def counts(self, key: ChannelKey) -> ChannelCounts:
        """Count this node's subscriptions and users."""
        here = self.channels.get(key)
        return ChannelCounts(0, 0) if here is None else here.counts()

    def occupied(self, app_id: str, prefix: str) -> dict[str, ChannelCounts]:
        """List the channels with subscriptions of this node."""
        return {
            channel: here.counts()
            for (of, channel), here in self.channels.items()
            if of == app_id and channel.startswith(prefix)
        }
