"""Remembers the occupied channels and the members of this node.

So webhooks can report that a channel was vacated, or that a member left, even if Redis was flushed.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from reverb.brokers.link import RECONNECT_GRACE, wait_for_all
from reverb.interfaces import StoreRefusedError
from reverb.portions import next_turn, portions, run_in_portions
from reverb.protocol.names import INTERNAL_PREFIX
from reverb.redis.scripting import Script
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.occupancy_lua import EPOCH, MARK_UNCONFIRMED

NOT_TRACKED = -1
"""The debounce delay of a channel whose occupancy no webhook reports."""
_REPORT_MARGIN = 10.0
"""Seconds after the debounce delay within which a departure is reported, unless Redis fails."""
PORTION = 500
"""The most channels that one turn of the reactor adds to the snapshot, or marks as unconfirmed."""
_NO_USERS: frozenset[str] = frozenset()


class Occupancy:
    """Knows each channel's debounce delay, and remembers departures in case Redis is flushed.

    A departure is a user who left a channel, or a channel that lost its last subscriber.

    While Redis is connected, the store's scripts update the occupancy in Redis. When the connection
    is lost, this class takes a snapshot of the node's channels and members, and of the departures
    that webhooks may not have reported yet. If Redis has been flushed when the node reconnects,
    this class marks channels and members as unconfirmed in Redis: those that the snapshot contains,
    but this node no longer has. The leader then sends a webhook (``channel_vacated`` or
    ``member_removed``) for each unconfirmed channel or member that no node has.

    Args:
        local_state: The connections and subscriptions of this node.
        session: This node's session in Redis.
        clock: Measures how long ago departures happened.

    Attributes:
        debounce_ms: The configured debounce delay in milliseconds; ``NOT_TRACKED`` until
            :meth:`track` is called.
        snapshot_taken: A Deferred that fires when :meth:`take_snapshot` has added the last portion
            of channels.
    """

    def __init__(self, local_state: LocalState, session: RedisSession, clock: IReactorTime) -> None:
        self._local_state = local_state
        self._session = session
        self._clock = clock
        self.debounce_ms = NOT_TRACKED
        self._wanted: Callable[[str], bool] = lambda _app_id: False
        self._scripts: tuple[Script, ...] = ()
        self.snapshot_taken: Deferred[None] = succeed(None)
        self._epoch: bytes | None = None
        self._was_flushed = False
        self._departures: deque[tuple[float, ChannelKey, str | None]] = deque()
        self._snapshot: dict[ChannelKey, frozenset[str]] = {}

    def track(
        self, debounce_ms: int, wanted: Callable[[str], bool], scripts: tuple[Script, ...]
    ) -> None:
        """Start to track occupancy.

        Args:
            debounce_ms: The debounce delay, in milliseconds.
            wanted: Called with an app's id; returns whether a webhook endpoint or a listener wants
                occupancy events of that app.
            scripts: The scripts that webhooks run in Redis; they are loaded after each connect.
        """
        self.debounce_ms = debounce_ms
        self._wanted = wanted
        self._scripts = (MARK_UNCONFIRMED, EPOCH, *scripts)
        if self._session.token is not None:
            self._session.load(self._scripts)

    def debounce_ms_for(self, key: ChannelKey) -> int:
        """Return a channel's debounce delay in milliseconds.

        If no webhook reports the channel, return ``NOT_TRACKED``.
        """
        if self.debounce_ms < 0:
            return NOT_TRACKED
        app_id, channel = key
        is_tracked = self._wanted(app_id) and not channel.startswith(INTERNAL_PREFIX)
        return self.debounce_ms if is_tracked else NOT_TRACKED

    def reconnect_debounce_ms_for(self, key: ChannelKey) -> int:
        """Return a channel's debounce delay in milliseconds while nodes may be reconnecting.

        The returned delay is at least ``RECONNECT_GRACE`` (in seconds). So a member who is
        connected to another node is not reported as removed before the other node registers again.
        If no webhook reports the channel, the method returns ``NOT_TRACKED``.
        """
        debounce_ms = self.debounce_ms_for(key)
        return debounce_ms if debounce_ms < 0 else max(debounce_ms, int(RECONNECT_GRACE * 1000))

    def record_departure(self, key: ChannelKey, user_id: str | None) -> None:
        """Remember a departure in case Redis is flushed before webhooks report the departure.

        Does nothing if no webhook reports the channel. Does nothing if ``user_id`` is None and this
        node still has subscriptions to the channel.

        Args:
            key: The channel.
            user_id: The user whose last subscription to the channel on this node has ended; None
                if there is no such user.
        """
        if self.debounce_ms_for(key) < 0 or (user_id is None and key in self._local_state.channels):
            return
        self._departures.append((self._clock.seconds(), key, user_id))
        self._drop_old_departures()

    def _drop_old_departures(self) -> None:
        oldest = self._clock.seconds() - self.debounce_ms / 1000 - _REPORT_MARGIN
        while self._departures and self._departures[0][0] < oldest:
            self._departures.popleft()

    def take_snapshot(self) -> None:
        """Add this node's channels and members, and the recent departures, to the snapshot.

        The registration calls this method when the connection to Redis is lost, and when the node
        stops. Channels are added in portions; ``snapshot_taken`` fires when the snapshot is
        complete.
        """
        if self.debounce_ms >= 0:
            keys = list(self._local_state.channels)
            taking = run_in_portions(self._clock, keys, self._add_to_snapshot, size=PORTION)
            # Departures are added now and after the last portion, because a channel may be vacated
            # before its portion.
            self._add_departures()
            self.snapshot_taken = taking.addCallback(lambda _: self._add_departures())

    def _add_to_snapshot(self, key: ChannelKey) -> None:
        here = self._local_state.channels.get(key)
        if here is not None and self.debounce_ms_for(key) >= 0:
            self._snapshot[key] = self._snapshot.get(key, _NO_USERS) | here.roster.keys()

    def _add_departures(self) -> None:
        self._drop_old_departures()
        for _, key, user_id in self._departures:
            self._snapshot[key] = self._snapshot.get(key, _NO_USERS) | (
                {user_id} if user_id else set()
            )

    async def check_epoch(self) -> None:
        """Check whether Redis has been flushed since the previous connect.

        Called after each connect, before this node's session begins.
        """
        if self.debounce_ms < 0:
            return
        self._session.load(self._scripts)
        before = self._epoch
        self._epoch = await self._session.run(EPOCH, secrets.token_hex(8))
        if before not in (None, self._epoch):
            self._was_flushed = True

    async def mark_unconfirmed(self) -> None:
        """If Redis has been flushed, mark departed channels and members as unconfirmed in Redis.

        A channel or member has departed if the snapshot contains it, but this node no longer has
        it. If only a member has departed, the member's channel is marked, too. The channels are
        marked in portions; each portion is sent when Redis has answered the previous one. If the
        node's session ends, the later portions are not sent.

        Raises:
            LinkLostError: Redis is out of reach.
            RedisReplyError: Redis refuses this node's session.
        """
        await self.snapshot_taken
        for portion in portions(list(self._snapshot) if self._was_flushed else (), PORTION):
            if self._session.token is None:
                return
            # Each portion takes one turn of the reactor, even if nothing in it has departed.
            await wait_for_all([next_turn(self._clock), *self._mark(portion)])

    def _mark(self, keys: list[ChannelKey]) -> "Iterator[Deferred[Any]]":
        for key in keys:
            here = self._local_state.channels.get(key)
            users = self._snapshot[key]
            departed = users if here is None else users - here.roster.keys()
            if here is None or departed:
                # Redis may be flushed once more before the departures are reported.
                for user_id in (*departed, None):
                    self.record_departure(key, user_id)
                marking = self._session.run(
                    MARK_UNCONFIRMED, *key, self.reconnect_debounce_ms_for(key), *departed
                )
                yield marking.addErrback(lambda failure: failure.trap(StoreRefusedError))

    def clear_snapshot(self) -> None:
        """Drop the snapshot, because this node's local state is registered in Redis again."""
        self._was_flushed = False
        self._snapshot.clear()
