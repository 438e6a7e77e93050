"""The queue of one endpoint: it keeps each channel's order, limits concurrency, and retries."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from enum import Enum

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.timing import Time
from reverb.webhooks.attempts import Outcome
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.policies import QueueLimits, RetryPolicy

MAX_IN_FLIGHT = 8
"""The most deliveries of one endpoint that are in flight: being sent, or waiting for a retry."""


class _Phase(Enum):
    """The phase of a queue.

    IDLE and STARTING alternate; STOPPED may follow either, and is final.
    """

    IDLE = "idle"
    STARTING = "starting"
    """A loop starts the deliveries that are ready, and those that become ready meanwhile."""
    STOPPED = "stopped"
    """No attempt starts any more."""


class EndpointQueue:
    """Sends deliveries to one endpoint.

    ``send``, ``on_attempt`` and ``on_done`` may call :meth:`stop`. After :meth:`stop`, the queue
    starts no attempt and changes no delivery.

    Ordering: a delivery is sent only when all earlier deliveries that share a channel with it are
    finished. Deliveries that share no channel may overtake each other. A delivery that waits for a
    retry blocks each later delivery that shares a channel with it. A blocked delivery blocks later
    deliveries in the same way. When :data:`MAX_IN_FLIGHT` deliveries wait for a retry, all other
    deliveries wait too.

    Args:
        send: Attempts a delivery once, and returns the outcome of the attempt. ``send`` also
            returns an outcome if the attempt fails; ``send`` raises only when it is cancelled.
        on_attempt: Called after each attempt, with the updated delivery and the outcome.
        on_done: Called with each delivery that is delivered or dead.
        time: Schedules retries, and provides the time at which an attempt ends.
        retry: Decides when a failed delivery is sent again, and when it is given up.
        limits: The limits that :meth:`has_room` checks.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        send: Callable[[Delivery], Awaitable[Outcome]],
        on_attempt: Callable[[Delivery, Outcome], None],
        on_done: Callable[[Delivery], None],
        time: Time,
        retry: RetryPolicy,
        limits: QueueLimits,
    ) -> None:
        self._send = send
        self._on_attempt = on_attempt
        self._on_done = on_done
        self._time = time
        self._retry = retry
        self._limits = limits
        # The channels of each unfinished delivery, by the delivery's id.
        self._queued: dict[str, frozenset[str]] = {}
        self._bytes = 0
        # The unfinished deliveries of each channel; only the first one may be sent.
        self._channel_queues: defaultdict[str, deque[Delivery]] = defaultdict(deque)
        self._ready: deque[Delivery] = deque()
        self._in_flight: dict[str, Deferred[None] | None] = {}
        self._phase = _Phase.IDLE

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def _is_stopped(self) -> bool:
        return self._phase is _Phase.STOPPED

    def has_room(self, size: int) -> bool:
        """Return whether the queue has room for a delivery with a body of ``size`` bytes.

        An empty queue has room for a body of any size. :meth:`add` itself checks no limit.
        """
        return self._limits.allow(len(self._queued), self._bytes, size)

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery; do nothing if the queue is stopped or has the delivery already."""
        if self._is_stopped or delivery.id in self._queued:
            return
        channels = delivery.channels
        self._queued[delivery.id] = channels
        self._bytes += len(delivery.body)
        for channel in channels:
            self._channel_queues[channel].append(delivery)
        if self._is_first(delivery):
            self._ready.append(delivery)
        self._start_ready()

    def _is_first(self, delivery: Delivery) -> bool:
        return all(self._channel_queues[name][0] is delivery for name in self._queued[delivery.id])

    def _start_ready(self) -> None:
        if self._phase is not _Phase.IDLE:
            return
        self._phase = _Phase.STARTING
        while self._ready and len(self._in_flight) < MAX_IN_FLIGHT:
            self._start_delivery(self._ready.popleft())
        if not self._is_stopped:
            self._phase = _Phase.IDLE

    def _start_delivery(self, delivery: Delivery) -> None:
        self._in_flight[delivery.id] = None
        running = Deferred.fromCoroutine(self._deliver(delivery))
        running.addErrback(self._log_unexpected)
        if self._is_stopped:
            running.cancel()
        elif not running.called:
            self._in_flight[delivery.id] = running

    def _log_unexpected(self, failure: Failure) -> None:
        """Log an unexpected error of a delivery; ignore the cancellation by :meth:`stop`."""
        if not failure.check(CancelledError):
            self._log.failure("delivering a webhook failed", failure)

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            outcome = await self._send(delivery)
            if self._is_stopped:
                return
            now = self._time.now()
            delivery.attempts += 1
            delivery.attempted = now
            delivery.status, delivery.error = outcome.status, outcome.error
            delay = None if outcome.permanent else self._retry.next_delay(delivery, now)
            if outcome.accepted:
                delivery.state = "delivered"
            elif delay is None:
                delivery.state = "dead"
            self._on_attempt(delivery, outcome)
            if self._is_stopped:
                return
            if delay is None or delivery.state != "pending":
                break
            await deferLater(self._time.clock, delay)
        self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        channels = self._queued.pop(delivery.id)
        self._bytes -= len(delivery.body)
        del self._in_flight[delivery.id]
        self._on_done(delivery)
        if self._is_stopped:
            return
        following: dict[str, Delivery] = {}
        for channel in channels:
            queue = self._channel_queues[channel]
            queue.popleft()
            if queue:
                following[queue[0].id] = queue[0]
            else:
                del self._channel_queues[channel]
        self._ready.extend(d for d in following.values() if self._is_first(d))
        self._start_ready()

    def stop(self) -> None:
        """Stop for good: cancel attempts and retries. Unfinished deliveries stay pending."""
        self._phase = _Phase.STOPPED
        in_flight, self._in_flight = self._in_flight, {}
        self._ready.clear()
        for running in in_flight.values():
            if running is not None:
                running.cancel()
