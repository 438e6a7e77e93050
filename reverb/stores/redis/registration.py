"""This node's registration in Redis, from each connect until the link is lost or the node stops."""

from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from reverb.brokers.link import RECONNECT_GRACE, wait_for_all
from reverb.brokers.link_observer import LinkObserver
from reverb.deferred import returns_deferred
from reverb.interfaces import StoreRefusedError
from reverb.portions import run_in_portions
from reverb.protocol.changes import StoreChange, StoreRestored
from reverb.redis.session import RedisSession
from reverb.state_machine import StateMachine
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis import scripts
from reverb.stores.redis.channel_sync import REDIS_ERRORS, ChannelSync
from reverb.stores.redis.connection_sync import ConnectionSync
from reverb.stores.redis.event_cache import SCRIPTS as CACHE_SCRIPTS
from reverb.stores.redis.event_cache import RedisEventCache
from reverb.stores.redis.leases import LeaseKeeper
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.member_replica import MemberReplica
from reverb.stores.redis.occupancy import Occupancy
from reverb.stores.redis.reap_lua import REAP
from reverb.stores.redis.scripts import parse_channel_field
from reverb.stores.redis.sync_lua import HELD

T = TypeVar("T")

PORTION = 200
"""The most commands that wait for a reply while a node registers; also the most member replicas
that the node handles in one turn of the reactor."""
_HELD_PORTION = 1_000
"""The approximate number of names from an earlier session that Redis returns in one portion."""
_DRAIN_TIMEOUT = 3
"""Seconds that a stopping node may take to remove itself from Redis."""


class _State(Enum):
    """The states of a registration; ``_TRANSITIONS`` lists the transitions."""

    STOPPED = "stopped"
    """The store has not been started, or has been stopped: a connect registers nothing."""
    DEGRADED = "degraded"
    """Redis is out of reach: this node answers from its local state."""
    REGISTERING = "registering"
    """Redis is connected, and this node writes its local state there."""
    GRACE = "grace"
    """This node is registered. The other nodes may still be reconnecting, so no node is reaped,
    and members that no node has registered again remain members."""
    REGISTERED = "registered"
    """This node is registered, and the other nodes have had time to register again, too."""


_TRANSITIONS = {
    _State.STOPPED: (_State.DEGRADED,),
    _State.DEGRADED: (_State.REGISTERING, _State.STOPPED),
    _State.REGISTERING: (_State.GRACE, _State.DEGRADED, _State.STOPPED),
    _State.GRACE: (_State.REGISTERED, _State.DEGRADED, _State.STOPPED),
    _State.REGISTERED: (_State.DEGRADED, _State.STOPPED),
}


class Registration(LinkObserver):
    """Registers this node with its local state in Redis, and begins and ends the node's session.

    Args:
        session: This node's session in Redis.
        local_state: The connections and subscriptions of this node.
        channels: Writes the subscriptions to Redis.
        connections: Writes the number of connections of each app to Redis.
        occupancy: Detects a flush of Redis, and remembers the departures that webhooks would not
            report after the flush.
        cache: Writes to Redis the cached events that were kept in memory in degraded mode.
        lease_ms: The duration of this node's lease in milliseconds.
        on_change: Called with each :class:`reverb.protocol.changes.ChannelReaped`, and with
            :class:`StoreRestored` some seconds after each registration.
    """

    _log = Logger()

    def __init__(
        self,
        session: RedisSession,
        local_state: LocalState,
        *,
        channels: ChannelSync,
        connections: ConnectionSync,
        occupancy: Occupancy,
        cache: RedisEventCache,
        lease_ms: int,
        on_change: Callable[[StoreChange], None],
    ) -> None:
        self._session = session
        self._local_state = local_state
        self._channels = channels
        self._connections = connections
        self._occupancy = occupancy
        self._cache = cache
        self._lease_ms = lease_ms
        self._on_change = on_change
        self._state = StateMachine(_State.STOPPED, _TRANSITIONS)
        self._token = ""
        self._grace_timer: IDelayedCall | None = None
        self._detaching: Deferred[None] = defer.succeed(None)
        self._leases = LeaseKeeper(
            session,
            lease_ms=lease_ms,
            may_reap=lambda: self._state.current is _State.REGISTERED,
            debounce_ms=lambda: occupancy.debounce_ms,
            on_reaped=on_change,
        )

    def start(self) -> None:
        """Register this node at each connect from now on; do nothing if already started."""
        if self._state.current is _State.STOPPED:
            self._state.enter(_State.DEGRADED)

    @returns_deferred
    async def stop(self) -> None:
        """Remove this node from Redis, if it is registered, and do not register again.

        The Deferred fires when the removal has succeeded or failed, at most 3 seconds after the
        call.
        """
        before = self._state.current
        if before is _State.STOPPED:
            return
        self._leave(_State.STOPPED)
        if before is _State.DEGRADED:
            return
        reaping = Deferred.fromCoroutine(self._reap_self(self._token))
        try:
            await reaping.addTimeout(_DRAIN_TIMEOUT, self._session.clock)
        except (*REDIS_ERRORS, defer.TimeoutError) as error:
            self._log.warn(
                "could not remove this node from Redis; another node will reap it: {why}",
                why=str(error),
            )

    async def _reap_self(self, token: str) -> None:
        session, debounce_ms = self._session, self._occupancy.debounce_ms
        cursor, more = b"0", 1
        while more:
            _, _, cursor, more = await session.run(
                REAP, debounce_ms, session.node, cursor, token=token
            )

    async def link_connected(self) -> None:
        """Register this node and its local state in Redis."""
        if self._state.current is _State.STOPPED:
            return  # The broker stops after the store, and its link may reconnect meanwhile.
        self._state.enter(_State.REGISTERING)
        self._session.load((*scripts.ALL, *CACHE_SCRIPTS))
        await self._detaching  # So that it detaches no replica that follows Redis again.
        await self._occupancy.check_epoch()
        if self._state.current is not _State.REGISTERING:
            return
        self._token = self._session.make_token()
        await self._session.run(scripts.REGISTER, self._lease_ms, token=self._token)
        if self._state.current is not _State.REGISTERING:
            return
        self._session.begin(self._token)
        self._channels.begin()
        self._connections.begin()
        self._leases.start()
        await self._write_local_state()
        if self._state.current is not _State.REGISTERING:
            return
        self._channels.end()
        self._occupancy.clear_snapshot()
        self._state.enter(_State.GRACE)
        self._grace_timer = self._session.clock.callLater(RECONNECT_GRACE, self._end_grace)

    async def _write_local_state(self) -> None:
        """Write connections, subscriptions, cached events and departures to Redis, in portions."""
        local = self._local_state
        await self._write(self._connections.sync(list(local.connections)))
        scanning = Deferred.fromCoroutine(self._correct_held())
        writing = Deferred.fromCoroutine(self._channels.sync_all(list(local.channels)))
        await wait_for_all([scanning, writing])
        await self._write(self._cache.write_back())
        await self._occupancy.mark_unconfirmed()

    async def _correct_held(self) -> None:
        """Correct, in portions, the counts that an earlier session of this node left in Redis."""
        cursor = b"0"
        while self._state.current is _State.REGISTERING:
            cursor, held = await self._session.run(HELD, cursor, _HELD_PORTION)
            names = self._session.decoder.texts(held[::2], f"held:{self._session.node}")
            await self._write(self._connections.sync(n for n in names if ":" not in n))
            keys = (parse_channel_field(name) for name in names if ":" in name)
            # _write_local_state writes the channels that are in the local state.
            await self._channels.sync_all(k for k in keys if k not in self._local_state.channels)
            if cursor == b"0":
                return

    async def _write(self, replies: "Iterable[Deferred[Any]]") -> None:
        """Send commands in portions; send each portion when Redis has answered the previous one.

        If Redis refuses a command because a key is corrupt, the session logs the error, and the
        other commands are still sent.

        Args:
            replies: An iterable that, for each item, sends a command and yields the Deferred of the
                reply.
        """
        unsent = iter(replies)
        while self._state.current is _State.REGISTERING and (sent := list(islice(unsent, PORTION))):
            await wait_for_all(
                reply.addErrback(lambda failure: failure.trap(StoreRefusedError)) for reply in sent
            )

    def _end_grace(self) -> None:
        """Remove the members that no node has registered again since this node reconnected."""
        self._grace_timer = None
        self._state.enter(_State.REGISTERED)
        keys = list(self._local_state.replicas)
        dropping = self._run_in_portions(keys, self._local_state.drop_unconfirmed)
        dropping.addCallback(self._restored, self._token)

    def _restored(self, _: None, token: str) -> None:
        if self._session.token == token:
            self._on_change(StoreRestored())

    def link_lost(self) -> None:
        """Enter degraded mode, unless this node is in degraded mode already or has stopped."""
        if self._state.current not in (_State.STOPPED, _State.DEGRADED):
            self._leave(_State.DEGRADED)

    def _leave(self, state: _State) -> None:
        """End the session; from now on this node answers from its local state."""
        self._state.enter(state)
        self._session.end()
        self._channels.end()
        self._connections.end()
        self._occupancy.take_snapshot()
        self._leases.stop()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None
        keys = list(self._local_state.replicas)
        self._detaching = self._run_in_portions(keys, self._local_state.detach_replica)

    def link_answered(self) -> None:
        """Let each member replica check whether it has missed a change."""
        replicas = list(self._local_state.replicas.values())
        self._run_in_portions(replicas, MemberReplica.on_heartbeat)

    def _run_in_portions(self, items: list[T], function: Callable[[T], object]) -> "Deferred[None]":
        return run_in_portions(self._session.clock, items, function, size=PORTION)

    def refetch_members(self, key: ChannelKey) -> None:
        """Fetch a snapshot of a channel's members, as the member replica has missed a change."""
        self._log.warn("missed a change to the members of {channel}; reloading", channel=key[1])
        replica = self._local_state.replicas[key]

        self._drop_when_loaded(key, self._channels.fetch(key, replica))

    def reconcile(self, keys: Iterable[ChannelKey]) -> None:
        """Write channels to Redis again, in portions, and load the snapshots of their members.

        Afterwards Redis has the subscriptions of this node's local state. In degraded mode, the
        method does nothing, because the next registration writes the channels.
        """
        self._run_in_portions(list(keys), self._reconcile)

    def _reconcile(self, key: ChannelKey) -> None:
        if self._session.token is not None:
            replica = self._local_state.replicas.get(key)
            if replica is not None:
                replica.resume()
            self._drop_when_loaded(key, self._channels.sync(key, replica))

    def _drop_when_loaded(self, key: ChannelKey, loading: "Deferred[None]") -> None:
        def loaded(_: None) -> None:
            if self._state.current is _State.REGISTERED:  # Otherwise _end_grace drops them later.
                self._local_state.drop_unconfirmed(key)

        loading.addCallback(loaded).addErrback(lambda failure: failure.trap(*REDIS_ERRORS))
