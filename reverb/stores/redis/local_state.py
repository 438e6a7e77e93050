"""One cluster node's own connections and subscriptions, from which it answers in degraded mode."""

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
from reverb.stores.channel_subscriptions import NO_MEMBERS, ChannelKey, ChannelSubscriptions
from reverb.stores.redis.member_replica import MemberReplica


class LocalState:
    """This node's connections and subscriptions, in memory.

    Args:
        on_change: Called with each member that joins or leaves, as far as this node's
            subscribers are concerned.
        refetch: Called with a channel whose members must be fetched from Redis again.

    Attributes:
        connections: The socket ids of each app; apps without connections have no entry.
        channels: The channels to which this node has subscriptions.
        replicas: The member replica of each of these channels that is a presence channel.
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
        """Add a connection, and return how many the app has now."""
        sockets = self.connections.setdefault(app_id, set())
        sockets.add(socket_id)
        return len(sockets)

    def disconnect(self, app_id: str, socket_id: str) -> bool:
        """Remove a connection, and return whether it was counted."""
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
            The channel's member replica, and whether the member is new to this node and to the
            replica. None and False if the subscriber is not a member.
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

    def _refetch_if_subscribed(self, key: ChannelKey) -> None:
        # A snapshot may arrive late, after this node's last subscription to the channel ended.
        if key in self.replicas:
            self._refetch(key)

    def leave(self, key: ChannelKey, socket_id: str) -> str | None:
        """Remove a subscription.

        Returns:
            The user's id if this was the user's last subscription to the channel on this node;
            otherwise None, also if the subscriber was not a member.
        """
        subscriptions = self.channels[key]
        removed_user_id = subscriptions.leave(socket_id)
        if not subscriptions.sockets:
            del self.channels[key]
            self.replicas.pop(key, None)
        return removed_user_id

    def enter_degraded_mode(self) -> None:
        """Stop following Redis: add this node's members to the replicas and release all waiters."""
        for key, replica in self.replicas.items():
            for user_id, user_info in self.channels[key].roster.items():
                replica.add(Member(user_id, user_info))
        # Last, and over a copy: a released waiter may end any subscription.
        for replica in list(self.replicas.values()):
            replica.detach()

    def drop_unconfirmed(self) -> None:
        """Remove from all replicas the members that the latest snapshot did not contain."""
        for replica in list(self.replicas.values()):
            replica.drop_unconfirmed()

    def on_heartbeat(self) -> None:
        """Let each replica check whether it has waited too long for a change."""
        for replica in list(self.replicas.values()):
            replica.on_heartbeat()

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
        """Return what a subscription changed, as far as this node knows.

        Args:
            key: The channel.
            socket_id: The subscriber's socket id; :meth:`join` has added its subscription.
            member: The subscriber's user, on a presence channel.
            max_members: Distinct users that the channel may have, 0 for any number.
            is_new: What :meth:`join` returned.

        Raises:
            ChannelFullError: The channel has too many members; the subscription has been
                removed again.
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
        """Remove the member from the replica, and return what this node knows of the change.

        Args:
            key: The channel.
            removed_user_id: What :meth:`leave` returned.
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
        """Return a copy of the members of a channel that this node knows."""
        replica = self.replicas.get(key)
        return NO_MEMBERS if replica is None else dict(replica.roster)

    def counts(self, key: ChannelKey) -> ChannelCounts:
        """Return the numbers of this node's subscriptions to a channel and of their users."""
        subscriptions = self.channels.get(key)
        return ChannelCounts(0, 0) if subscriptions is None else subscriptions.counts()

    def channel_counts(self, app_id: str, prefix: str) -> dict[str, ChannelCounts]:
        """Return the counts of this node's channels whose names begin with the prefix."""
        return {
            channel: subscriptions.counts()
            for (channel_app_id, channel), subscriptions in self.channels.items()
            if channel_app_id == app_id and channel.startswith(prefix)
        }
