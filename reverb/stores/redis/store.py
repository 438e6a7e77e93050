"""The channel store of nodes that share a Redis.

Each node also keeps its own connections and subscriptions in memory, as the node's local state.
While Redis is out of reach, or does not reply in time, the node answers from its local state. When
Redis is back, the node registers its local state again, even if Redis lost its data.
:mod:`reverb.stores.redis.scripts` lists the keys.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from reverb.brokers.link import LinkLostError
from reverb.brokers.link_observer import ConnectPhase
from reverb.brokers.reply_deadlines import LIMIT, ReplyOverdueError
from reverb.deferred import returns_deferred
from reverb.envelope import MemberChange
from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    ChannelFullError,
    IChannelStore,
    ILinked,
    StoreRefusedError,
)
from reverb.protocol.changes import JoinResult, LeaveResult, StoreChange, StoreRestored
from reverb.protocol.messages import Member
from reverb.redis.link import RedisLink
from reverb.redis.resp import Argument
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import NO_MEMBERS, ChannelKey
from reverb.stores.redis import scripts
from reverb.stores.redis.channel_sync import ChannelSync
from reverb.stores.redis.connection_sync import ConnectionSync
from reverb.stores.redis.event_cache import RedisEventCache
from reverb.stores.redis.late_replies import LateReplies
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.occupancy import Occupancy
from reverb.stores.redis.registration import Registration

_UNANSWERED = (LinkLostError, ReplyOverdueError)
"""The errors with which the local state answers: Redis is out of reach, or has not replied yet."""
_LISTED_PORTION = 500
"""The approximate number of channels that one command of :meth:`RedisStore.channels` examines."""


@implementer(IChannelStore, ILinked)
class RedisStore:
    """A channel store in Redis, shared by the nodes of a cluster.

    Args:
        link: The link to Redis; the broker starts and stops the link.
        lease: Seconds after which a node that has not renewed its lease counts as dead.

    Attributes:
        link: The link to Redis.
        link_meter: The counters of the connection that sends commands to Redis.
        session: This node's session in Redis; webhooks also use the session to run scripts.
        occupancy: Tracks this node's channels and members, for webhooks.
    """

    def __init__(self, link: RedisLink, *, lease: float) -> None:
        self.link = link
        self.link_meter = link.command_meter
        self.session = RedisSession(link)
        self._on_change: Callable[[StoreChange], None] = lambda _change: None
        self._local_state = LocalState(self._notify, self._refetch_members)
        self.occupancy = Occupancy(self._local_state, self.session, link.clock)
        self._cache = RedisEventCache(link, self.session)
        self._channels = ChannelSync(self._local_state, self.session, self.occupancy)
        self._connections = ConnectionSync(self._local_state, self.session)
        self._registration = Registration(
            self.session,
            self._local_state,
            channels=self._channels,
            connections=self._connections,
            occupancy=self.occupancy,
            cache=self._cache,
            lease_ms=int(lease * 1000),
            on_change=self._notify,
        )
        self._late = LateReplies(
            self.session,
            link.deadlines,
            self._local_state,
            connections=self._connections,
            registration=self._registration,
            on_change=self._notify,
        )
        link.observe(ConnectPhase.REGISTER, self._registration)

    # Membership in the cluster

    @property
    def connected(self) -> bool:
        """Whether this node has a session in Redis; if not, the node is in degraded mode."""
        return self.session.token is not None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Start the store; until Redis is connected, the node is in degraded mode.

        Returns:
            A Deferred that has already fired.
        """
        self._on_change = changed
        self._registration.start()
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Remove this node from Redis, if Redis is connected.

        Returns:
            A Deferred that fires when the removal has succeeded or failed, at most 3 seconds after
            the call.
        """
        return self._registration.stop()

    def announce_restored(self) -> None:
        """Report StoreRestored, as invalidations may have been lost while NATS was disconnected."""
        self._notify(StoreRestored())

    def _refetch_members(self, key: ChannelKey) -> None:
        self._registration.refetch_members(key)

    def _notify(self, change: StoreChange) -> None:
        self._on_change(change)

    def member_changed(self, change: MemberChange) -> None:
        """Apply a change of a channel's members, by this or another node, to the member replica."""
        replica = self._local_state.replicas.get((change.app_id, change.channel))
        if replica is not None:
            replica.apply(change.version, change.user_id, change.user_info)

    # Connections

    @returns_deferred
    async def connect(self, app_id: str, socket_id: str, limit: int) -> bool:
        """Count a connection, unless the app already has ``limit`` connections (0: no limit)."""
        self._connections.send_first(app_id)
        count = self._local_state.connect(app_id, socket_id)
        try:
            admitted = bool(await self._late.call(scripts.CONNECT, app_id, limit))
        except (*_UNANSWERED, StoreRefusedError):
            self._late.answered_connect(app_id)
            admitted = not limit or count <= limit
        if not admitted:
            self._local_state.disconnect(app_id, socket_id)
        return admitted

    @returns_deferred
    async def disconnect(self, app_id: str, socket_id: str) -> None:
        """Stop counting a connection."""
        self._connections.send_first(app_id)
        if self._local_state.disconnect(app_id, socket_id):
            try:
                await self.session.call(scripts.DISCONNECT, app_id)
            except (LinkLostError, StoreRefusedError):
                return  # The next registration corrects the count.

    @returns_deferred
    async def connections(self, app_id: str) -> int:
        """Return the number of the app's connections on all nodes."""
        self._connections.send_first(app_id)
        try:
            raw = await self._late.call(scripts.CONNECTIONS, app_id)
            count = self.session.decoder.count(raw, "connections")
        except _UNANSWERED:
            count = None
        return len(self._local_state.connections.get(app_id, ())) if count is None else count

    # Subscriptions

    @returns_deferred
    async def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> JoinResult:
        """Add a subscription, and return how the channel changed; fail if the channel is full."""
        key, started = (app_id, channel), self.link.clock.seconds()
        local = self._local_state
        self._channels.send_first(key)
        replica, is_new = local.join(key, socket_id, member)
        # The members are fetched once; from then on the bus delivers the changes.
        wants_snapshot = replica is not None and self.connected and replica.needs_snapshot
        if replica is not None and wants_snapshot:
            replica.await_snapshot()
        member_arguments: tuple[Argument, ...] = ("", "", "", "")
        if member is not None:
            member_arguments = ("1", int(wants_snapshot), member.user_id, member.user_info)
        debounce_ms = self.occupancy.debounce_ms_for(key)
        try:
            total, added, version, members = await self._late.call(
                scripts.JOIN, *key, *member_arguments, max_members, debounce_ms
            )
            if replica is not None and members is not None:
                self._channels.load([version, members], key, replica)
        except _UNANSWERED:
            self._late.answered_channel(key)
            return local.local_join_result(key, socket_id, member, max_members, is_new=is_new)
        except Exception:
            local.leave(key, socket_id)
            self._channels.resync(key, wants_snapshot=wants_snapshot)
            raise
        if total == scripts.FULL:
            local.leave(key, socket_id)
            raise ChannelFullError(f"{channel} has {max_members} members")
        total = self._checked_total(total, key)
        if replica is None or member is None:
            return JoinResult(total == 1, added=False, subscriptions=total, members=NO_MEMBERS)
        version = self.session.decoder.number(version, f"versions:{app_id}")
        if (catching_up := replica.wait_for_version(version)) is not None:
            # A late change is sent to the subscriber when it arrives.
            left = max(0, started + LIMIT - self.link.clock.seconds())
            with suppress(defer.TimeoutError):
                await catching_up.addTimeout(left, self.link.clock)
        local.ensure_member(key, socket_id, member, replica)
        return JoinResult(total == 1, bool(added), total, replica.roster, announced=True)

    @returns_deferred
    async def leave(self, app_id: str, channel: str, socket_id: str) -> LeaveResult | None:
        """Remove a subscription, and return how the channel changed.

        Return None if the subscription did not exist.
        """
        key = (app_id, channel)
        subscriptions = self._local_state.channels.get(key)
        if subscriptions is None or socket_id not in subscriptions.sockets:
            return None
        self._channels.send_first(key)
        user_id = subscriptions.sockets[socket_id]
        local_removed = self._local_state.leave(key, socket_id)
        self.occupancy.record_departure(key, local_removed)
        member_arguments = ("", "") if user_id is None else ("1", user_id)
        debounce_ms = self.occupancy.debounce_ms_for(key)
        try:
            total, removed = await self._late.call(
                scripts.LEAVE, *key, *member_arguments, debounce_ms
            )
        except _UNANSWERED:
            self._late.answered_channel(key)
            return self._local_state.local_leave_result(key, local_removed)
        except StoreRefusedError:
            self._channels.resync(key, wants_snapshot=False)
            return self._local_state.local_leave_result(key, local_removed)
        total = self._checked_total(total, key)
        return LeaveResult(total == 0, user_id if removed else None, total, announced=True)

    def _checked_total(self, raw: int, key: ChannelKey) -> int:
        """Decode a channel's number of subscriptions on all nodes.

        If the number is corrupt, return the number of subscriptions on this node.
        """
        count = self.session.decoder.count(raw, f"channels:{key[0]}")
        return self._local_state.counts(key).subscriptions if count is None else count

    # Queries: in degraded mode, the local state answers

    @returns_deferred
    async def members(self, app_id: str, channel: str) -> Mapping[str, str]:
        """Return a presence channel's members on all nodes."""
        self._channels.send_first((app_id, channel))
        try:
            _, members = await self._late.call(scripts.MEMBERS, app_id, channel)
        except _UNANSWERED:
            return self._local_state.members((app_id, channel))
        return self.session.decoder.members(members, f"members:{app_id}:{channel}")

    @returns_deferred
    async def counts(self, app_id: str, channel: str) -> ChannelCounts:
        """Return the numbers of a channel's subscriptions and distinct users on all nodes."""
        self._channels.send_first((app_id, channel))
        try:
            total, users = await self._late.call(scripts.COUNTS, app_id, channel)
        except _UNANSWERED:
            return self._local_state.counts((app_id, channel))
        count = self.session.decoder.count(total, f"channels:{app_id}")
        return (
            self._local_state.counts((app_id, channel))
            if count is None
            else ChannelCounts(count, users)
        )

    @returns_deferred
    async def occupied(self, app_id: str, channels: Sequence[str]) -> Mapping[str, bool]:
        """Return for each given channel whether the channel is occupied.

        In degraded mode, the returned mapping has only the given channels with subscribers on this
        node.
        """
        for channel in channels:
            self._channels.send_first((app_id, channel))
        try:
            replies = await self._late.call(scripts.OCCUPIED, app_id, *channels)
        except _UNANSWERED:
            local = self._local_state.channels
            return {channel: True for channel in channels if (app_id, channel) in local}
        return {channel: bool(reply) for channel, reply in zip(channels, replies, strict=True)}

    @returns_deferred
    async def channels(self, app_id: str, prefix: str) -> Mapping[str, ChannelCounts]:
        """Return the subscription and user counts of an app's channels on all nodes.

        The returned mapping has only the channels whose names begin with ``prefix``. Redis lists
        the channels in portions. If a channel becomes occupied or vacated while this method runs,
        the returned mapping may or may not contain that channel.
        """
        try:
            return await self._list_channels(app_id, prefix)
        except _UNANSWERED:
            return self._local_state.channel_counts(app_id, prefix)

    async def _list_channels(self, app_id: str, prefix: str) -> dict[str, ChannelCounts]:
        found: dict[str, ChannelCounts] = {}
        cursor, is_last = b"0", False
        while not is_last:
            cursor, portion = await self._late.call(
                scripts.CHANNELS, app_id, prefix, cursor, _LISTED_PORTION
            )
            found.update(self._decode_counts(app_id, portion))
            is_last = cursor == b"0"
        return found

    def _decode_counts(
        self, app_id: str, portion: list[Any]
    ) -> Iterator[tuple[str, ChannelCounts]]:
        decoder, redis_key = self.session.decoder, f"channels:{app_id}"
        for raw_name, total, users in portion:
            name = decoder.channel(raw_name, redis_key)
            count = decoder.count(total, redis_key)
            if name is not None and count:
                yield name, ChannelCounts(count, users)

    # Cache channels

    @returns_deferred
    async def cache_event(self, app_id: str, channel: str, event: str, data: str, ttl: int) -> None:
        """Store a cache channel's last event for ``ttl`` seconds."""
        await self._cache.put((app_id, channel), event, data, ttl)

    @returns_deferred
    async def get_cached_event(self, app_id: str, channel: str) -> CachedEvent | None:
        """Return a cache channel's last event, or None if there is none or it has expired."""
        key = (app_id, channel)
        try:
            return await self._late.limit(self._cache.get(key))
        except ReplyOverdueError:
            return self._cache.kept(key)
