"""Writes all of a node's subscriptions to a channel to Redis, and loads snapshots of members."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.interfaces import StoreRefusedError
from reverb.redis.resp import Argument, RedisReplyError
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey, ChannelSubscriptions
from reverb.stores.redis import scripts
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.member_replica import MemberReplica
from reverb.stores.redis.occupancy import Occupancy

REDIS_ERRORS = (LinkLostError, RedisReplyError, StoreRefusedError)
"""All errors with which a script may fail."""


class ChannelSync:
    """Writes this node's subscriptions to Redis, and loads snapshots into the member replicas.

    Args:
        local_state: The connections and subscriptions of this node.
        session: This node's session in Redis.
        occupancy: Knows the debounce delay of each channel.
    """

    def __init__(
        self, local_state: LocalState, session: RedisSession, occupancy: Occupancy
    ) -> None:
        self._local_state = local_state
        self._session = session
        self._occupancy = occupancy

    def sync(self, key: ChannelKey, replica: MemberReplica | None) -> "Deferred[None]":
        """Replace this node's subscriptions to a channel in Redis by those of its local state.

        Args:
            key: The channel.
            replica: The replica that loads the snapshot of the members; None to load none.

        Returns:
            Fires when Redis has replaced the subscriptions, and the snapshot is loaded. Fails with
            one of ``REDIS_ERRORS``.
        """
        subscriptions = self._local_state.channels.get(key) or ChannelSubscriptions()
        users: list[Argument] = []
        for user_id, user_info in subscriptions.roster.items():
            users += [user_id, user_info, subscriptions.sockets_per_user[user_id]]
        if replica is not None:
            replica.await_snapshot()
        count = len(subscriptions.sockets)
        debounce_ms = self._occupancy.reconnect_debounce_ms_for(key)
        reply = self._session.run(scripts.SYNC_CHANNEL, *key, count, debounce_ms, *users)
        return self._load_reply(reply, key, replica)

    def resync(self, key: ChannelKey, *, wants_snapshot: bool) -> None:
        """Correct this node's subscriptions to a channel in Redis after a script failed halfway.

        Does nothing in degraded mode: the next registration corrects the subscriptions.

        Args:
            key: The channel.
            wants_snapshot: Whether the script that failed was to return a snapshot of the members.
        """
        if self._session.token is not None:
            replica = self._local_state.replicas.get(key) if wants_snapshot else None
            syncing = self.sync(key, replica)
            syncing.addErrback(lambda failure: failure.trap(*REDIS_ERRORS))

    def fetch(self, key: ChannelKey, replica: MemberReplica) -> "Deferred[None]":
        """Load another snapshot of a channel's members into its replica.

        Returns:
            Fires when the snapshot is loaded. Fails with LinkLostError or StoreRefusedError.
        """
        reply = Deferred.fromCoroutine(self._session.call(scripts.MEMBERS_IF_REGISTERED, *key))
        return self._load_reply(reply, key, replica)

    def load(self, reply: list[Any], key: ChannelKey, replica: MemberReplica) -> None:
        """Load a script's reply, the version and the members, into a channel's replica."""
        decoder = self._session.decoder
        version = decoder.number(reply[0], f"versions:{key[0]}")
        members = decoder.members(reply[1], f"members:{key[0]}:{key[1]}")
        replica.load_snapshot(members, version)

    def _load_reply(
        self, reply: "Deferred[Any]", key: ChannelKey, replica: MemberReplica | None
    ) -> "Deferred[None]":
        if replica is None:
            return reply.addCallback(lambda _: None)
        reply.addCallback(self.load, key, replica)
        return reply.addErrback(_detach_if_refused, replica)


def _detach_if_refused(failure: Failure, replica: MemberReplica) -> Failure:
    """Detach the replica if Redis refuses to return its snapshot, so that no join waits for it."""
    if failure.check(StoreRefusedError):
        replica.detach()
    return failure
