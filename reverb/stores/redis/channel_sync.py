"""Writes a node's channel subscriptions to Redis, and loads snapshots of members.

At each registration a node writes its subscriptions in all channels to Redis, in portions. Clients
may subscribe and unsubscribe between two portions. Before the node sends a command about a channel
that the session has not written yet, the node writes all its subscriptions in this channel. So the
counts in Redis do not depend on the order in which the node writes the channels.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError, wait_for_all
from reverb.interfaces import StoreRefusedError
from reverb.protocol.names import ChannelKind, channel_type
from reverb.redis.resp import Argument, RedisReplyError
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey, ChannelSubscriptions
from reverb.stores.redis import scripts
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.member_replica import MemberReplica
from reverb.stores.redis.occupancy import Occupancy
from reverb.stores.redis.sync_lua import SYNC_CHANNEL, SYNC_CHANNELS

REDIS_ERRORS = (LinkLostError, RedisReplyError, StoreRefusedError)
"""All errors with which a script may fail."""
PORTION = 200
"""A portion ends when its channels and members reach this number; see ``_PRESENCE_COST``."""
_PRESENCE_COST = 10
"""The number that a presence channel counts as in a portion, besides its members. A channel without
members counts as 1. Each presence channel needs its own command."""
WINDOW = 4
"""The most portions that wait for a reply of Redis."""


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
        # The channels that this session has written; None except between begin() and end().
        self._sent: set[ChannelKey] | None = None

    def begin(self) -> None:
        """Mark all channels as not written yet, because a session has just begun."""
        self._sent = set()

    def end(self) -> None:
        """Stop writing portions, because all channels are written or the session has ended."""
        self._sent = None

    def send_first(self, key: ChannelKey) -> None:
        """Write this node's subscriptions in a channel before the remaining portions.

        Does nothing if the channel has already been written since :meth:`begin`, or if :meth:`end`
        has been called since. Call this method before each change of the channel in the local
        state, and before each command about the channel.
        """
        if self._sent is not None and key not in self._sent:
            self._sent.add(key)
            syncing = self.sync(key, self._local_state.replicas.get(key))
            syncing.addErrback(lambda failure: failure.trap(*REDIS_ERRORS))

    async def sync_all(self, keys: Iterable[ChannelKey]) -> None:
        """Write this node's subscriptions in the given channels to Redis, in portions.

        Skips the channels that this session has written already. At most ``WINDOW`` portions wait
        for a reply. Returns when Redis has answered each portion. After a call of :meth:`end`, no
        further portion is sent. If Redis refuses a channel because a key is corrupt, the session
        logs the error, and the other channels are still written.

        Args:
            keys: The channels.

        Raises:
            LinkLostError: Redis is out of reach.
            RedisReplyError: Redis refuses this node's session.
        """
        unsent = self._portions(keys)
        await wait_for_all(
            Deferred.fromCoroutine(self._sync_portions(unsent)) for _ in range(WINDOW)
        )

    async def _sync_portions(self, unsent: Iterator[list[ChannelKey]]) -> None:
        """Write one portion after the other, until none is left or :meth:`end` is called."""
        for portion in unsent:
            if self._sent is None:
                return
            keys = [key for key in portion if key not in self._sent]
            self._sent.update(keys)
            if keys:
                await self._sync_portion(keys)

    def _portions(self, keys: Iterable[ChannelKey]) -> Iterator[list[ChannelKey]]:
        portion: list[ChannelKey] = []
        weight = 0
        for key in keys:
            here = self._local_state.channels.get(key)
            portion.append(key)
            weight += _PRESENCE_COST + len(here.roster) if here and here.roster else 1
            if weight >= PORTION:
                yield portion
                portion, weight = [], 0
        if portion:
            yield portion

    async def _sync_portion(self, keys: list[ChannelKey]) -> None:
        replies: list[Deferred[Any]] = []
        plain: dict[tuple[str, int], list[ChannelKey]] = defaultdict(list)
        for key in keys:
            replica = self._local_state.replicas.get(key)
            if replica is not None or channel_type(key[1]).kind is ChannelKind.PRESENCE:
                replies.append(self.sync(key, replica).addErrback(_trap_refused))
            else:
                plain[key[0], self._occupancy.reconnect_debounce_ms_for(key)].append(key)
        for (app_id, debounce_ms), some in plain.items():
            replies.append(Deferred.fromCoroutine(self._sync_plain(app_id, debounce_ms, some)))
        await wait_for_all(replies)

    async def _sync_plain(self, app_id: str, debounce_ms: int, keys: list[ChannelKey]) -> None:
        """Write the subscription counts of channels without members, with one command.

        All the channels belong to one app.
        """
        counts: list[Argument] = []
        for key in keys:
            here = self._local_state.channels.get(key)
            counts += [key[1], 0 if here is None else len(here.sockets)]
        try:
            await self._session.run(SYNC_CHANNELS, app_id, debounce_ms, *counts)
        except StoreRefusedError:  # A channel is corrupt: write each one alone.
            await wait_for_all(self.sync(key, None).addErrback(_trap_refused) for key in keys)

    def sync(self, key: ChannelKey, replica: MemberReplica | None) -> "Deferred[None]":
        """Replace this node's subscriptions to a channel in Redis by those in the local state.

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
        reply = self._session.run(SYNC_CHANNEL, *key, count, debounce_ms, *users)
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
    """Detach a replica from Redis if Redis refuses to return the snapshot of the members.

    A join does not wait for the snapshot of a detached replica.
    """
    if failure.check(StoreRefusedError):
        replica.detach()
    return failure


def _trap_refused(failure: Failure) -> None:
    failure.trap(StoreRefusedError)  # The session has logged it.
