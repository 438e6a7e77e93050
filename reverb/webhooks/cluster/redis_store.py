"""The cluster store of webhooks, in Redis.

Redis holds events, URLs and bodies, but no secrets and no headers.
:mod:`reverb.stores.redis.occupancy_lua` and :mod:`reverb.webhooks.cluster.redis_lua` document the
keys.
"""

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from reverb.brokers.link import LinkLostError
from reverb.interfaces import StoreRefusedError
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.redis.resp import Argument
from reverb.redis.scripting import Script
from reverb.stores.redis.store import RedisStore
from reverb.webhooks.cluster import redis_scripts as scripts
from reverb.webhooks.cluster.redis_codec import (
    CorruptRecordError,
    decode_delivery,
    decode_entry,
    encode_delivery,
)
from reverb.webhooks.delivery import MAX_DEAD, MAX_DEAD_BYTES, MAX_DELIVERED, Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import ClusterStoreLostError, IWebhookClusterStore, QueueEntry

T = TypeVar("T")

LEADER_LEASE_MS = 6_000
"""Milliseconds for which the leadership lasts after its last renewal."""
_STATES: tuple[State, ...] = ("pending", "delivered", "dead")
_CHUNK_SIZE = 50
"""The most deliveries that one call of a script reads."""
_RETENTION = {"delivered": (MAX_DELIVERED, MAX_DEAD_BYTES), "dead": (MAX_DEAD, MAX_DEAD_BYTES)}
"""For each final state, the most deliveries and the most bytes that are retained.

The limit in bytes applies only to dead letters: the bytes of delivered deliveries are not counted.
"""


@implementer(IWebhookClusterStore)
class RedisWebhookStore:
    """Stores the cluster's webhooks in Redis, through the session of this node's channel store.

    Args:
        store: This node's channel store, whose scripts record joins and leaves.
        clock: Measures the time between log lines, whose rate is limited.
        meter: The node's meter; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self, store: RedisStore, *, clock: IReactorTime, meter: Meter | None = None
    ) -> None:
        self._store = store
        self._session = store.session
        # The token of the Redis session in which this node last asked for the leadership. The
        # leadership ends with that session.
        self._leader_session: str | None = None
        self._meter = meter
        self._corrupt = LogThrottle(self._log_corrupt, clock)
        self._last_problem = ""

    @property
    def is_available(self) -> bool:
        """Whether this node is registered in Redis, and Redis answers."""
        return self._store.connected

    async def _call(self, script: Script, *arguments: Argument) -> Any:
        try:
            return await self._session.call(script, *arguments)
        except (LinkLostError, StoreRefusedError) as error:
            raise ClusterStoreLostError(str(error)) from None

    async def _call_as_leader(self, leader_token: str, script: Script, *arguments: Argument) -> Any:
        """Run a script that only the leader may run.

        Raises:
            ClusterStoreLostError: The session in which this node asked for the leadership has
                ended, the leadership has expired, or Redis is unreachable.
        """
        if self._session.token != self._leader_session:
            raise ClusterStoreLostError("the connection to Redis was lost")
        reply = await self._call(script, leader_token, LEADER_LEASE_MS, *arguments)
        if reply is None:
            raise ClusterStoreLostError("its leadership has expired")
        return reply

    def _record_corrupt(self, what: str, problem: str) -> None:
        if self._meter is not None:
            self._meter.webhooks_unreadable += 1
        self._last_problem = problem
        self._corrupt.record(what)

    def _log_corrupt(self, what: str, count: int) -> None:
        self._log.error(
            "webhooks: skipped {count} corrupt {what} in Redis, which another program or a newer "
            "version of this server may have written; most recently: {problem}",
            what=what,
            count=count,
            problem=self._last_problem[:300],
        )

    # Events

    def track_occupancy(self, debounce_ms: int, wanted: Callable[[str], bool]) -> None:
        """Have the channel store's scripts report changes of occupancy."""
        self._store.occupancy.track(debounce_ms, wanted, scripts.ALL)

    def publish(self, event: WebhookEvent, mute_ms: int) -> "Deferred[bool]":
        """Add to the queue an event that is not about occupancy.

        Returns:
            Fires with False if the queue is full, and the event is dropped; with True otherwise.
        """
        return _start(
            self._call(
                scripts.PUBLISH, event.name, event.app_id, event.channel, event.json, mute_ms
            ),
            bool,
        )

    # For the leader

    def acquire_leadership(self, leader_token: str) -> "Deferred[bool]":
        """Become the leader, or renew the leadership; fires with whether this node leads."""
        self._leader_session = self._session.token
        return _start(self._call(scripts.ACQUIRE_LEADERSHIP, leader_token, LEADER_LEASE_MS), bool)

    def release_leadership(self, leader_token: str) -> "Deferred[None]":
        """Release the leadership, so that another node may acquire it."""
        return _start(self._call_as_leader(leader_token, scripts.RELEASE_LEADERSHIP), _ignore_reply)

    def announce_stop(self) -> "Deferred[bool]":
        """Record that this node is stopping.

        Returns:
            Fires with True if all nodes are stopping, and checks or entries are left.
        """
        return _start(self._call(scripts.ANNOUNCE_STOP), bool)

    def audit(
        self, leader_token: str, delay_ms: int, wanted: Callable[[str], bool]
    ) -> "Deferred[None]":
        """Schedule checks of the channels and users reported as present that are absent now."""
        return Deferred.fromCoroutine(self._audit(leader_token, delay_ms, wanted))

    async def _audit(self, leader_token: str, delay_ms: int, wanted: Callable[[str], bool]) -> None:
        for app_id in await self._call_as_leader(leader_token, scripts.APPS):
            cursor, is_done = b"0", False
            app_delay_ms = delay_ms if _is_wanted(app_id, wanted) else -1
            while not is_done:
                cursor = await self._call_as_leader(
                    leader_token, scripts.AUDIT, app_id, cursor, app_delay_ms
                )
                is_done = cursor == b"0"

    def pending(self, leader_token: str) -> "Deferred[list[Delivery]]":
        """List the pending deliveries, in the order of their ids."""
        return Deferred.fromCoroutine(self._pending(leader_token))

    async def _pending(self, leader_token: str) -> list[Delivery]:
        found: dict[str, Delivery] = {}
        start = 0
        while names := await self._call_as_leader(
            leader_token, scripts.PENDING, start, start + _CHUNK_SIZE - 1
        ):
            for delivery in await self._find([_parse_delivery_id(name) for name in names]):
                found[delivery.id] = delivery
            start += len(names)
        return [found[delivery_id] for delivery_id in sorted(found)]

    def poll(
        self, leader_token: str, after: str, *, stopping: bool
    ) -> "Deferred[list[QueueEntry]]":
        """Run the occupancy checks that are due, and read the next entries of the queue."""
        return Deferred.fromCoroutine(
            self._poll(leader_token, _next_entry_id(after), stopping=stopping)
        )

    async def _poll(self, leader_token: str, start: str, *, stopping: bool) -> list[QueueEntry]:
        while True:
            found, malformed = await self._call_as_leader(
                leader_token, scripts.POLL, start, int(stopping)
            )
            if malformed:
                self._record_corrupt(
                    "occupancy checks", f"{malformed} checks in one poll name no app"
                )
            entries: list[QueueEntry] = []
            corrupt: list[bytes] = []
            for entry_id, fields in found:
                try:
                    entries.append(decode_entry(entry_id, fields))
                except CorruptRecordError as error:
                    corrupt.append(entry_id)
                    self._record_corrupt("queue entries", str(error))
            if corrupt:
                await self._call_as_leader(leader_token, scripts.REMOVE_ENTRIES, *corrupt)
            if entries or not found:
                return entries

    def put(self, leader_token: str, delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Write a new or changed delivery."""
        body = (delivery.body,) if is_new else ()
        return _start(
            self._call_as_leader(
                leader_token,
                scripts.PUT,
                *_RETENTION.get(delivery.state, (0, 0)),
                *_key_arguments(delivery),
                delivery.state,
                encode_delivery(delivery),
                *body,
            ),
            _ignore_reply,
        )

    def remove_entries(self, leader_token: str, ids: Collection[str]) -> "Deferred[None]":
        """Remove entries from the queue."""
        return _start(
            self._call_as_leader(leader_token, scripts.REMOVE_ENTRIES, *ids), _ignore_reply
        )

    # For every node

    def add(self, delivery: Delivery, max_queued: int, max_bytes: int) -> "Deferred[bool]":
        """Write a pending delivery, and notify the leader through a queue entry.

        Returns:
            Fires with False, having changed nothing, if there is no room or the delivery is pending
            already; with True otherwise.
        """
        return _start(
            self._call(
                scripts.ADD,
                max_queued,
                max_bytes,
                *_key_arguments(delivery),
                encode_delivery(delivery),
                delivery.body,
            ),
            bool,
        )

    def list_ids(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """List the ids of an app's deliveries, the newest first."""
        states = _STATES if state is None else (state,)
        before = f"({after}" if after else "+"
        return _start(self._call(scripts.LIST_IDS, app_id, before, limit, *states), _decode_ids)

    def find(self, ids: Sequence[str]) -> "Deferred[list[Delivery]]":
        """Get the deliveries with these ids, in the same order; skip missing and corrupt ones."""
        return Deferred.fromCoroutine(self._find(ids))

    async def _find(self, ids: Sequence[str]) -> list[Delivery]:
        found: list[Delivery] = []
        for start in range(0, len(ids), _CHUNK_SIZE):
            flat = await self._call(scripts.FIND, *ids[start : start + _CHUNK_SIZE])
            for pair in zip(flat[::2], flat[1::2], strict=True):
                try:
                    found.append(decode_delivery(*pair))
                except CorruptRecordError as error:
                    self._record_corrupt("deliveries", str(error))
        return found

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the pending deliveries of an endpoint."""
        return _start(self._call(scripts.COUNT_QUEUED, app_id, url), int)


def _start(call: Coroutine[Any, Any, Any], convert: Callable[[Any], T]) -> "Deferred[T]":
    """Start a call at once; the Deferred fires with the converted reply."""
    return Deferred.fromCoroutine(call).addCallback(convert)


def _ignore_reply(_: object) -> None:
    return None


def _is_wanted(app_id: bytes, wanted: Callable[[str], bool]) -> bool:
    try:
        return wanted(app_id.decode())
    except UnicodeDecodeError:  # Another program has written the id.
        return False


def _decode_ids(reply: list[bytes]) -> list[str]:
    """Decode ids of deliveries; an id that is not UTF-8 becomes one that does not exist."""
    return [found.decode("utf-8", "replace") for found in reply]


def _key_arguments(delivery: Delivery) -> tuple[Argument, ...]:
    return (delivery.app_id, delivery.id, delivery.url, repr(delivery.created))


def _parse_delivery_id(name: bytes) -> str:
    """Return the id from ``APP:ID``."""
    return name.decode("utf-8", "replace").partition(":")[2]


def _next_entry_id(after: str) -> str:
    """Return the lowest possible id of an entry after ``after``; ``-`` if ``after`` is empty."""
    milliseconds, _, number = after.partition("-")
    return f"{milliseconds}-{int(number) + 1}" if after else "-"
