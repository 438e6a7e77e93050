"""What nodes keep of webhooks together in Redis; see :mod:`reverb.stores.redis.occupancy_lua`.

Events, URLs and bodies are kept there, but no secret and no header.
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
from reverb.webhooks.cluster.redis_codec import UnreadableError, pack, read_entry, unpack
from reverb.webhooks.delivery import MAX_DEAD, MAX_DEAD_BYTES, MAX_DELIVERED, Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import ClusterStoreLostError, IWebhookClusterStore, QueueEntry

T = TypeVar("T")

LEADER_LEASE_MS = 6_000
"""Milliseconds after which a sender that is silent has lost its office."""
_STATES: tuple[State, ...] = ("pending", "delivered", "dead")
_DELIVERIES = 50
"""Deliveries, with their bodies, that are asked for at once."""
_BOUNDS = {"delivered": (MAX_DELIVERED, MAX_DEAD_BYTES), "dead": (MAX_DEAD, MAX_DEAD_BYTES)}


@implementer(IWebhookClusterStore)
class RedisWebhookStore:
    """Keeps webhooks in Redis, in the sessions of a store.

    Args:
        store: This node's, which notes who comes and goes.
        clock: For the log.
        meter: That of the node; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self, store: RedisStore, *, clock: IReactorTime, meter: Meter | None = None
    ) -> None:
        self._store = store
        self._session = store.session
        self._term: str | None = None
        self._meter = meter
        self._unreadable = LogThrottle(self._tell_unreadable, clock)
        self._problem = ""

    @property
    def is_available(self) -> bool:
        """Whether Redis can be asked now."""
        return self._store.connected

    async def _ask(self, script: Script, *arguments: Argument) -> Any:
        try:
            return await self._session.call(script, *arguments)
        except (LinkLostError, StoreRefusedError) as error:
            raise ClusterStoreLostError(str(error)) from None

    async def _ask_as(self, leader_token: str, script: Script, *arguments: Argument) -> Any:
        """Run a script that only the sender may run, in the session in which it became that."""
        if self._session.token != self._term:
            raise ClusterStoreLostError("Redis was lost meanwhile")
        answer = await self._ask(script, leader_token, LEADER_LEASE_MS, *arguments)
        if answer is None:
            raise ClusterStoreLostError("another node sends webhooks by now")
        return answer

    def _cannot_read(self, what: str, problem: str) -> None:
        if self._meter is not None:
            self._meter.webhooks_unreadable += 1
        self._problem = problem
        self._unreadable.record(what)

    def _tell_unreadable(self, what: str, count: int) -> None:
        self._log.error(
            "webhooks in Redis: left out {what} that are not of this server, or of a newer one: "
            "{count} more; the last: {problem}",
            what=what,
            count=count,
            problem=self._problem[:300],
        )

    # Events

    def track_occupancy(self, wait: int, wanted: Callable[[str], bool]) -> None:
        """Have changes settled by the store's own scripts."""
        self._store.occupancy.track(wait, wanted, scripts.ALL)

    def publish(self, event: WebhookEvent, mute_ms: int) -> "Deferred[bool]":
        """Put an event into the queue that is none of a place."""
        return _start(
            self._ask(
                scripts.PUBLISH, event.name, event.app_id, event.channel, event.json, mute_ms
            ),
            bool,
        )

    # The sender's

    def acquire_leadership(self, leader_token: str) -> "Deferred[bool]":
        """Become the sender, if there is none."""
        self._term = self._session.token
        return _start(self._ask(scripts.ACQUIRE_LEADERSHIP, leader_token, LEADER_LEASE_MS), bool)

    def release_leadership(self, leader_token: str) -> "Deferred[None]":
        """Let another node send."""
        return _start(self._ask_as(leader_token, scripts.RELEASE_LEADERSHIP), _nothing)

    def announce_stop(self) -> "Deferred[bool]":
        """Say that this node stops."""
        return _start(self._ask(scripts.STOP), bool)

    def audit(
        self, leader_token: str, wait: int, wanted: Callable[[str], bool]
    ) -> "Deferred[None]":
        """Mark whoever is not there any more, as far as endpoints know."""
        return Deferred.fromCoroutine(self._audit(leader_token, wait, wanted))

    async def _audit(self, leader_token: str, wait: int, wanted: Callable[[str], bool]) -> None:
        for app_id in await self._ask_as(leader_token, scripts.APPS):
            cursor, ends = b"0", False
            wait_here = wait if _is_wanted(app_id, wanted) else -1
            while not ends:
                cursor = await self._ask_as(leader_token, scripts.AUDIT, app_id, cursor, wait_here)
                ends = cursor == b"0"

    def pending(self, leader_token: str) -> "Deferred[list[Delivery]]":
        """Get all that is to be delivered."""
        return Deferred.fromCoroutine(self._pending(leader_token))

    async def _pending(self, leader_token: str) -> list[Delivery]:
        found: dict[str, Delivery] = {}
        start = 0
        while names := await self._ask_as(
            leader_token, scripts.PENDING, start, start + _DELIVERIES - 1
        ):
            for delivery in await self._find([_id(name) for name in names]):
                found[delivery.id] = delivery
            start += len(names)
        return [found[delivery_id] for delivery_id in sorted(found)]

    def poll(
        self, leader_token: str, after: str, *, stopping: bool
    ) -> "Deferred[list[QueueEntry]]":
        """Settle what is due, and read on in the queue."""
        return Deferred.fromCoroutine(self._poll(leader_token, _next(after), stopping=stopping))

    async def _poll(self, leader_token: str, start: str, *, stopping: bool) -> list[QueueEntry]:
        while True:
            found, strange = await self._ask_as(leader_token, scripts.POLL, start, int(stopping))
            if strange:
                self._cannot_read("places", f"{strange} of them name no app")
            entries: list[QueueEntry] = []
            unreadable: list[bytes] = []
            for entry_id, fields in found:
                try:
                    entries.append(read_entry(entry_id, fields))
                except UnreadableError as error:
                    unreadable.append(entry_id)
                    self._cannot_read("entries of the queue", str(error))
            if unreadable:
                await self._ask_as(leader_token, scripts.FORGET, *unreadable)
            if entries or not found:
                return entries

    def put(self, leader_token: str, delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Keep a delivery as it is now."""
        body = (delivery.body,) if is_new else ()
        return _start(
            self._ask_as(
                leader_token,
                scripts.PUT,
                *_BOUNDS.get(delivery.state, (0, 0)),
                *_named(delivery),
                delivery.state,
                pack(delivery),
                *body,
            ),
            _nothing,
        )

    def remove_entries(self, leader_token: str, ids: Collection[str]) -> "Deferred[None]":
        """Take entries out of the queue."""
        return _start(self._ask_as(leader_token, scripts.FORGET, *ids), _nothing)

    # Everybody's

    def add(self, delivery: Delivery, max_queued: int, max_bytes: int) -> "Deferred[bool]":
        """Keep a delivery for the sender, and tell it by an entry."""
        return _start(
            self._ask(
                scripts.ADD,
                max_queued,
                max_bytes,
                *_named(delivery),
                pack(delivery),
                delivery.body,
            ),
            bool,
        )

    def ids(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """List the ids of deliveries, the newest first."""
        states = _STATES if state is None else (state,)
        asking = self._ask(scripts.IDS, app_id, f"({after}" if after else "+", limit, *states)
        return _start(asking, _read_ids)

    def find(self, ids: Sequence[str]) -> "Deferred[list[Delivery]]":
        """Get deliveries, as far as they are still kept."""
        return Deferred.fromCoroutine(self._find(ids))

    async def _find(self, ids: Sequence[str]) -> list[Delivery]:
        found: list[Delivery] = []
        for start in range(0, len(ids), _DELIVERIES):
            flat = await self._ask(scripts.FIND, *ids[start : start + _DELIVERIES])
            for pair in zip(flat[::2], flat[1::2], strict=True):
                try:
                    found.append(unpack(*pair))
                except UnreadableError as error:
                    self._cannot_read("deliveries", str(error))
        return found

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the deliveries that wait for an endpoint."""
        return _start(self._ask(scripts.QUEUED, app_id, url), int)


def _start(asking: Coroutine[Any, Any, Any], read: Callable[[Any], T]) -> "Deferred[T]":
    """Ask at once, and read the answer when it comes."""
    return Deferred.fromCoroutine(asking).addCallback(read)


def _nothing(_: object) -> None:
    return None


def _is_wanted(app_id: bytes, wanted: Callable[[str], bool]) -> bool:
    try:
        return wanted(app_id.decode())
    except UnicodeDecodeError:  # Of a stranger.
        return False


def _read_ids(answer: list[bytes]) -> list[str]:
    """Read ids of deliveries; those of strangers find nothing."""
    return [found.decode("utf-8", "replace") for found in answer]


def _named(delivery: Delivery) -> tuple[Argument, ...]:
    return (delivery.app_id, delivery.id, delivery.url, repr(delivery.created))


def _id(name: bytes) -> str:
    return name.decode("utf-8", "replace").partition(":")[2]


def _next(after: str) -> str:
    """Find the lowest id that may follow another."""
    milliseconds, _, number = after.partition("-")
    return f"{milliseconds}-{int(number) + 1}" if after else "-"
