"""The connections and subscriptions of this node; in degraded mode the store answers from them."""

from collections.abc import Callable, Mapping

from reverb.interfaces import ChannelCounts, ChannelFullError
from reverb.protocol.changes import JoinResult, LeaveResult, MemberJoined, MemberLeft, StoreChange
from reverb.protocol.messages import Member
from reverb.stores.channel_subscriptions import NO_MEMBERS, ChannelKey, ChannelSubscriptions
from reverb.stores.redis.member_replica import MemberReplica


class LocalState:
    """This node's connections and subscriptions, in memory.

    Args:
        on_change: Called with a :class:`MemberJoined` or a :class:`MemberLeft` for each change of
            members about which the node must now inform its subscribers.
        refetch: Called with the key of each channel whose members the node must fetch from Redis
            again.

    Attributes:
        connections: Maps each app's id to the socket ids of its connections to this node. An app
            without connections has no entry.
        channels: Maps each channel to this node's subscriptions. A channel without subscriptions
            has no entry.
        replicas: Maps each presence channel in ``channels`` to its member replica.
    """

    def __init__(
        self, on_change: Callable[[StoreChange], None], refetch: Callable[[ChannelKey], None]
    ) -> None:
        self._on_change = on_change
        self._refetch = refetch
        self.connections: dict[str, set[str]] = {}
        self.channels: dict[ChannelKey, ChannelSubscriptions] = {}
        self.replicas: dict[ChannelKey, MemberReplica] = {}

    # Connections

    def connect(self, app_id: str, socket_id: str) -> int:
        """Add a connection, and return the number of the app's connections to this node."""
        sockets = self.connections.setdefault(app_id, set())
        sockets.add(socket_id)
        return len(sockets)

    def disconnect(self, app_id: str, socket_id: str) -> bool:
        """Remove a connection, and return whether this node had the connection."""
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
            The channel's member replica, and whether the user is a new member, whom neither this
            node nor the replica had; None and False if the channel is not a presence channel.
        """
        is_first = self.channels.setdefault(key, ChannelSubscriptions()).join(socket_id, member)
        if member is None:
            return None, False
        replica = self.replicas.get(key)
        if replica is None:
            app_id, channel = key
            replica = self.replicas[key] = MemberReplica(
                on_joined=lambda member: self._on_change(MemberJoined(app_id, channel, member)),
                on_left=lambda user_id: self._on_change(MemberLeft(app_id, channel, user_id)),
                refetch=lambda: self._refetch_if_subscribed(key),
            )
        return replica, is_first and member.user_id not in replica.roster

    def ensure_member(
        self, key: ChannelKey, socket_id: str, member: Member, replica: MemberReplica
    ) -> None:
        """Add a member who is missing from the replica, if the member's subscription still exists.

        The member is missing from the replica if another node has reaped this node after the
        subscriber joined.
        """
        subscriptions = self.channels.get(key)
        is_subscribed = subscriptions is not None and socket_id in subscriptions.sockets
        if is_subscribed and member.user_id not in replica.roster:
            replica.add(member)

    def _refetch_if_subscribed(self, key: ChannelKey) -> None:
        # A late snapshot may arrive after this node's last subscription to the channel has ended.
        if key in self.replicas:
            self._refetch(key)

    def leave(self, key: ChannelKey, socket_id: str) -> str | None:
        """Remove a subscription.

        Returns:
            The member's user id if the member has no other subscription to the channel on this
            node; otherwise None.
        """
        subscriptions = self.channels[key]
        removed_user_id = subscriptions.leave(socket_id)
        if not subscriptions.sockets:
            del self.channels[key]
            self.replicas.pop(key, None)
        return removed_user_id

    def detach_replica(self, key: ChannelKey) -> None:
        """Add this node's members to a channel's member replica, and detach the replica from Redis.

        Does nothing if the channel has no replica.
        """
        replica = self.replicas.get(key)
        if replica is not None:
            for user_id, user_info in self.channels[key].roster.items():
                replica.add(Member(user_id, user_info))
            replica.detach()

    def drop_unconfirmed(self, key: ChannelKey) -> None:
        """Remove the unconfirmed members of a channel who are not members on this node.

        A member on this node may be unconfirmed because Redis has not handled the join yet.
        """
        replica = self.replicas.get(key)
        if replica is not None:
            replica.unconfirmed.difference_update(self.channels[key].roster)
            replica.drop_unconfirmed()

    # Results in degraded mode

    def local_join_result(
        self,
        key: ChannelKey,
        socket_id: str,
        member: Member | None,
        max_members: int,
        *,
        is_new: bool,
    ) -> JoinResult:
        """Add a subscriber to the member replica; return the join's effect, as this node knows it.

        Args:
            key: The channel.
            socket_id: The socket id of the subscriber, whom :meth:`join` has already added.
            member: The member on a presence channel; None on other channels.
            max_members: The number of distinct users that the channel may have, 0 for no limit.
            is_new: Whether :meth:`join` reported the user as a new member.

        Raises:
            ChannelFullError: The channel is full; the new subscription has been removed.
        """
        subscriptions = self.channels[key]
        count = len(subscriptions.sockets)
        if member is None:
            return JoinResult(count == 1, added=False, subscriptions=count, members=NO_MEMBERS)
        replica = self.replicas[key]
        others = len(replica.roster) - (member.user_id in replica.roster)
        if is_new and max_members and others >= max_members:
            if self.leave(key, socket_id) is not None:
                replica.remove(member.user_id)
            raise ChannelFullError(f"{key[1]} has {max_members} members")
        replica.add(member)
        return JoinResult(count == 1, is_new, count, replica.roster, announced=True)

    def local_leave_result(self, key: ChannelKey, removed_user_id: str | None) -> LeaveResult:
        """Return the effect of :meth:`leave` on the channel, computed from the local state.

        If the user has no subscription to the channel left on this node, the method also removes
        the user from the channel's member replica.

        Args:
            key: The channel.
            removed_user_id: The user id that :meth:`leave` returned, or None.
        """
        subscriptions = self.channels.get(key)
        if subscriptions is None:
            return LeaveResult(
                vacated=True, removed=removed_user_id, subscriptions=0, announced=True
            )
        if removed_user_id in subscriptions.sockets_per_user:
            removed_user_id = None  # The user has joined again while the request was under way.
        if removed_user_id is not None and key in self.replicas:
            self.replicas[key].remove(removed_user_id)
        count = len(subscriptions.sockets)
        return LeaveResult(
            vacated=False, removed=removed_user_id, subscriptions=count, announced=True
        )

    def members(self, key: ChannelKey) -> Mapping[str, str]:
        """Return a copy of a channel's members, as far as this node knows them."""
        replica = self.replicas.get(key)
        return NO_MEMBERS if replica is None else dict(replica.roster)

    def counts(self, key: ChannelKey) -> ChannelCounts:
        """Return the numbers of subscriptions and distinct users of a channel on this node."""
        subscriptions = self.channels.get(key)
        return ChannelCounts(0, 0) if subscriptions is None else subscriptions.counts()

    def channel_counts(self, app_id: str, prefix: str) -> dict[str, ChannelCounts]:
        """Return the subscription and user counts of an app's channels on this node.

        The returned mapping has only the channels whose names begin with ``prefix``.
        """
        return {
            channel: subscriptions.counts()
            for (channel_app_id, channel), subscriptions in self.channels.items()
            if channel_app_id == app_id and channel.startswith(prefix)
        }
