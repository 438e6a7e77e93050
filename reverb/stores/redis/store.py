"""The channel store of nodes that share a Redis.

Each node also keeps its own connections and subscriptions in memory: its local state. While Redis
is out of reach, the node answers from its local state. When Redis is back, the node registers its
local state again, even if Redis lost its data. :mod:`reverb.stores.redis.scripts` lists the keys.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.brokers.link import RECONNECT_GRACE, LinkLostError, wait_for_all
from reverb.envelope import MemberChange
from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    ChannelFullError,
    IChannelStore,
    ILinked,
    JoinResult,
    LeaveResult,
    StoreChange,
    StoreRefusedError,
    StoreRestored,
)
from reverb.protocol.messages import Member
from reverb.redis.connections import RedisReplyError
from reverb.redis.link import RedisLink
from reverb.redis.resp import Argument
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import NO_MEMBERS, ChannelKey, ChannelSubscriptions
from reverb.stores.redis import scripts
from reverb.stores.redis.event_cache import RedisEventCache
from reverb.stores.redis.leases import LeaseKeeper
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.member_replica import MemberReplica
from reverb.stores.redis.occupancy import Occupancy
from reverb.stores.redis.scripts import parse_channel_field

_DRAIN_TIMEOUT = 3
"""Seconds that a stopping node may take to remove itself from Redis."""
_REDIS_ERRORS = (LinkLostError, RedisReplyError, StoreRefusedError)


@implementer(IChannelStore, ILinked)
class RedisStore:
    """A channel store in Redis, shared by the nodes of a cluster.

    Args:
        link: The link to Redis; the broker starts and stops it.
        lease: Seconds after which a node that has not renewed its lease counts as dead.

    Attributes:
        link_meter: Counters of the connection for commands.
        session: This node's session in Redis, for other parts that run scripts there.
        occupancy: Tracks this node's channels and members, for webhooks.
    """

    _log = Logger()

    def __init__(self, link: RedisLink, *, lease: float) -> None:
        self._link = link
        self.link_meter = link.command_meter
        self.session = RedisSession(link)
        self._run, self._call = self.session.run, self.session.call
        self._decoder = self.session.decoder
        self._lease_ms = int(lease * 1000)
        self._on_change: Callable[[StoreChange], None] = lambda _change: None
        self._local_state = LocalState(self._notify, self._refetch_members)
        self.occupancy = Occupancy(self._local_state, self.session, link.clock)
        self._cache = RedisEventCache(link, self.session)
        self._leases = LeaseKeeper(
            self.session,
            lease_ms=self._lease_ms,
            clock=link.clock,
            may_reap=lambda: self._grace_timer is None,
            debounce_ms=lambda: self.occupancy.debounce_ms,
            on_reaped=self._notify,
        )
        self._grace_timer: IDelayedCall | None = None
        link.connect_hooks.append(self._register)
        link.loss_hooks.append(self._link_lost)
        link.heartbeat_hooks.append(self._local_state.on_heartbeat)

    # Membership in the cluster

    @property
    def connected(self) -> bool:
        """Whether this node has a session in Redis; if not, it is in degraded mode."""
        return self.session.token is not None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Start, and fire at once; the node is in degraded mode until Redis is connected."""
        self._on_change = changed
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Remove this node from Redis, if Redis is connected; fires within 3 seconds."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.session.token is None:
            return
        self._link_lost()
        node = self._link.node
        self._link.send_only("DEL", f"{self._link.url.prefix}:lease:{node}")
        try:
            reaping = self._run(scripts.REAP, self.occupancy.debounce_ms, node=node)
            await reaping.addTimeout(_DRAIN_TIMEOUT, self._link.clock)
        except (*_REDIS_ERRORS, defer.TimeoutError) as error:
            self._log.warn(
                "could not remove this node from Redis; another node will reap it: {why}",
                why=str(error),
            )

    async def _register(self) -> None:
        """Register this node and its local state in Redis; called after each connect."""
        self.session.load(scripts.ALL)
        await self.occupancy.check_epoch()
        token = self.session.make_token()
        held = await self._run(scripts.REGISTER, self._lease_ms, token=token)
        # No await from here until all commands are sent. So each command of a later request
        # reaches Redis after the commands that register the local state.
        self.session.token = token
        local = self._local_state
        names = self._decoder.texts(held, f"held:{self._link.node}")
        apps = {name for name in names if ":" not in name} | local.connections.keys()
        replies = [
            self._run(scripts.SYNC_CONNECTIONS, app_id, len(local.connections.get(app_id, ())))
            for app_id in apps
        ]
        keys = {parse_channel_field(name) for name in names if ":" in name} | local.channels.keys()
        replies += [self._sync_channel(key, local.replicas.get(key)) for key in keys]
        replies += self._cache.write_back()
        replies += self.occupancy.mark_unconfirmed()
        # Redis may refuse a command because a key is corrupt. That is logged, and not fatal.
        await wait_for_all(r.addErrback(lambda f: f.trap(StoreRefusedError)) for r in replies)
        self.occupancy.clear_snapshot()
        self._grace_timer = self._link.clock.callLater(RECONNECT_GRACE, self._end_grace)
        self._leases.start()

    def _end_grace(self) -> None:
        """Remove the members that no node has registered again since this node reconnected."""
        self._grace_timer = None
        self._local_state.drop_unconfirmed()
        self._notify(StoreRestored())

    async def announce_restored(self) -> None:
        """Report StoreRestored: NATS has reconnected, and may have lost invalidations meanwhile."""
        self._notify(StoreRestored())

    def _sync_channel(self, key: ChannelKey, replica: MemberReplica | None) -> "Deferred[Any]":
        """Replace this node's subscriptions to a channel in Redis by those of its local state.

        Redis returns a snapshot of the channel's members, which the replica, if given, loads.
        """
        subscriptions = self._local_state.channels.get(key) or ChannelSubscriptions()
        users: list[Argument] = []
        for user_id, user_info in subscriptions.roster.items():
            users += [user_id, user_info, subscriptions.sockets_per_user[user_id]]
        if replica is not None:
            replica.is_fetching = True
        count, debounce = len(subscriptions.sockets), self.occupancy.reconnect_debounce_ms_for(key)
        reply = self._run(scripts.SYNC_CHANNEL, *key, count, debounce, *users)
        reply.addCallback(self._load, key, replica)
        return reply.addErrback(_detach_if_refused, replica)

    def _link_lost(self) -> None:
        """Enter degraded mode: answer from the local state."""
        self.session.token = None
        self.occupancy.take_snapshot()
        self._leases.stop()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        self._local_state.enter_degraded_mode()

    def _notify(self, change: StoreChange) -> None:
        self._on_change(change)

    def member_changed(self, change: MemberChange) -> None:
        """Apply a member change from the bus, which this node or another one has made."""
        replica = self._local_state.replicas.get((change.app_id, change.channel))
        if replica is not None:
            replica.apply(change.version, change.user_id, change.user_info)

    def _refetch_members(self, key: ChannelKey) -> None:
        """Fetch a snapshot of a channel's members, because the replica has missed a change."""
        self._log.warn("missed a change to the members of {channel}; reloading", channel=key[1])
        replica = self._local_state.replicas[key]
        fetching = Deferred.fromCoroutine(self._call(scripts.MEMBERS_IF_REGISTERED, *key))
        fetching.addCallback(self._load_refetched, key, replica)
        fetching.addErrback(_detach_if_refused, replica)
        fetching.addErrback(lambda failure: failure.trap(LinkLostError, StoreRefusedError))

    def _load(self, reply: list[Any], key: ChannelKey, replica: MemberReplica | None) -> None:
        """Load the version and the members that Redis returned into a replica, if one is given."""
        if replica is not None:
            version = self._decoder.number(reply[0], f"versions:{key[0]}")
            members = self._decoder.mapping(reply[1], f"members:{key[0]}:{key[1]}")
            replica.load_snapshot(members, version)

    def _load_refetched(self, reply: list[Any], key: ChannelKey, replica: MemberReplica) -> None:
        self._load(reply, key, replica)
        if self._grace_timer is None:  # Otherwise _end_grace drops them later.
            replica.drop_unconfirmed()

    # Connections

    def connect(self, app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection, unless the app already has ``limit`` connections (0: no limit)."""
        return Deferred.fromCoroutine(self._connect(app_id, socket_id, limit))

    async def _connect(self, app_id: str, socket_id: str, limit: int) -> bool:
        count = self._local_state.connect(app_id, socket_id)
        try:
            admitted = bool(await self._call(scripts.CONNECT, app_id, limit))
        except (LinkLostError, StoreRefusedError):
            admitted = not limit or count <= limit
        if not admitted:
            self._local_state.disconnect(app_id, socket_id)
        return admitted

    def disconnect(self, app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection."""
        return Deferred.fromCoroutine(self._disconnect(app_id, socket_id))

    async def _disconnect(self, app_id: str, socket_id: str) -> None:
        if self._local_state.disconnect(app_id, socket_id):
            try:
                await self._call(scripts.DISCONNECT, app_id)
            except (LinkLostError, StoreRefusedError):
                return  # The next registration corrects the count.

    def connections(self, app_id: str) -> "Deferred[int]":
        """Return the number of the app's connections."""
        return Deferred.fromCoroutine(self._connections(app_id))

    async def _connections(self, app_id: str) -> int:
        try:
            count = await self._call(scripts.CONNECTIONS, app_id)
        except LinkLostError:
            return len(self._local_state.connections.get(app_id, ()))
        return self._decoder.number(count, "connections")

    # Subscriptions

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription, and return its effect on all nodes; fails if the channel is full."""
        key = (app_id, channel)
        return Deferred.fromCoroutine(self._join(key, socket_id, member, max_members))

    async def _join(
        self, key: ChannelKey, socket_id: str, member: Member | None, max_members: int
    ) -> JoinResult:
        local = self._local_state
        replica, is_new = local.join(key, socket_id, member)
        # The members are fetched once; from then on the bus delivers the changes.
        needs_snapshot = replica is not None and replica.version is None and not replica.is_fetching
        if replica is not None:
            replica.is_fetching = replica.is_fetching or needs_snapshot
        member_arguments: tuple[Argument, ...] = ("", "", "", "")
        if member is not None:
            member_arguments = ("1", int(needs_snapshot), member.user_id, member.user_info)
        debounce_ms = self.occupancy.debounce_ms_for(key)
        try:
            total, added, version, members = await self._call(
                scripts.JOIN, *key, *member_arguments, max_members, debounce_ms
            )
            if replica is not None and members is not None:
                self._load([version, members], key, replica)
        except LinkLostError:
            return local.local_join_result(key, socket_id, member, max_members, is_new=is_new)
        except Exception:
            local.leave(key, socket_id)
            self._resync(key, needs_snapshot=needs_snapshot)
            raise
        if total == scripts.FULL:
            local.leave(key, socket_id)
            raise ChannelFullError(f"{key[1]} has {max_members} members")
        if replica is None or member is None:
            return JoinResult(total == 1, added=False, subscriptions=total, members=NO_MEMBERS)
        version = self._decoder.number(version, f"versions:{key[0]}")
        if (catching_up := replica.wait_for_version(version)) is not None:
            await catching_up
        subscriptions = local.channels.get(key)
        is_subscribed = subscriptions is not None and socket_id in subscriptions.sockets
        if is_subscribed and member.user_id not in replica.roster:
            # Another node has reaped this node in the meantime; this node will register again.
            replica.add(member)
        return JoinResult(total == 1, bool(added), total, replica.roster, announced=True)

    def _resync(self, key: ChannelKey, *, needs_snapshot: bool) -> None:
        """Correct this node's subscriptions to a channel in Redis after a script failed halfway."""
        if self.session.token is not None:
            replica = self._local_state.replicas.get(key) if needs_snapshot else None
            syncing = self._sync_channel(key, replica)
            syncing.addErrback(lambda failure: failure.trap(*_REDIS_ERRORS))

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """Remove a subscription, and return the effect on all nodes; None if none existed."""
        return Deferred.fromCoroutine(self._leave((app_id, channel), socket_id))

    async def _leave(self, key: ChannelKey, socket_id: str) -> LeaveResult | None:
        subscriptions = self._local_state.channels.get(key)
        if subscriptions is None or socket_id not in subscriptions.sockets:
            return None
        user_id = subscriptions.sockets[socket_id]
        local_removed = self._local_state.leave(key, socket_id)
        self.occupancy.record_departure(key, local_removed)
        member_arguments = ("", "") if user_id is None else ("1", user_id)
        debounce = self.occupancy.debounce_ms_for(key)
        try:
            total, removed = await self._call(scripts.LEAVE, *key, *member_arguments, debounce)
        except LinkLostError:
            return self._local_state.local_leave_result(key, local_removed)
        except StoreRefusedError:
            self._resync(key, needs_snapshot=False)
            return self._local_state.local_leave_result(key, local_removed)
        return LeaveResult(total == 0, user_id if removed else None, total, announced=True)

    # Queries: in degraded mode, the local state answers

    def members(self, app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """Return a presence channel's members on all nodes."""
        return Deferred.fromCoroutine(self._members((app_id, channel)))

    async def _members(self, key: ChannelKey) -> Mapping[str, str]:
        try:
            _, members = await self._call(scripts.MEMBERS, *key)
        except LinkLostError:
            return self._local_state.members(key)
        return self._decoder.mapping(members, f"members:{key[0]}:{key[1]}")

    def counts(self, app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Return the numbers of a channel's subscriptions and distinct users on all nodes."""
        return Deferred.fromCoroutine(self._counts((app_id, channel)))

    async def _counts(self, key: ChannelKey) -> ChannelCounts:
        try:
            total, users = await self._call(scripts.COUNTS, *key)
        except LinkLostError:
            return self._local_state.counts(key)
        return ChannelCounts(self._decoder.number(total, f"channels:{key[0]}"), users)

    def occupied(self, app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Return whether channels are occupied; in degraded mode, omit those not occupied here."""
        return Deferred.fromCoroutine(self._occupied(app_id, channels))

    async def _occupied(self, app_id: str, channels: Sequence[str]) -> Mapping[str, bool]:
        try:
            replies = await self._call(scripts.OCCUPIED, app_id, *channels)
        except LinkLostError:
            local = self._local_state.channels
            return {channel: True for channel in channels if (app_id, channel) in local}
        return {channel: bool(reply) for channel, reply in zip(channels, replies, strict=True)}

    def channels(self, app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """Return the counts, on all nodes, of the channels whose names begin with the prefix."""
        return Deferred.fromCoroutine(self._channels(app_id, prefix))

    async def _channels(self, app_id: str, prefix: str) -> Mapping[str, ChannelCounts]:
        try:
            found = await self._call(scripts.CHANNELS, app_id, prefix)
        except LinkLostError:
            return self._local_state.channel_counts(app_id, prefix)
        decoder, redis_key = self._decoder, f"channels:{app_id}"
        return {
            name: ChannelCounts(count, users)
            for raw_name, total, users in found
            if (name := decoder.text(raw_name, redis_key)) is not None
            and (count := decoder.number(total, redis_key)) > 0
        }

    # Cache channels

    def cache_event(
        self, app_id: str, channel: str, event: str, data: str, ttl: int
    ) -> "Deferred[None]":
        """Store a cache channel's last event for ``ttl`` seconds."""
        return Deferred.fromCoroutine(self._cache.put((app_id, channel), event, data, ttl))

    def get_cached_event(self, app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Return a cache channel's last event, or None if there is none or it has expired."""
        return Deferred.fromCoroutine(self._cache.get((app_id, channel)))


def _detach_if_refused(failure: Failure, replica: MemberReplica | None) -> Failure:
    """Detach the replica if Redis refuses to return its snapshot, so that nothing waits for it."""
    if replica is not None and failure.check(StoreRefusedError):
        replica.detach()
    return failure
