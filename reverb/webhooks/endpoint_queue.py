"""The queue of one endpoint: order for each channel, concurrency limit and retries."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.webhooks.delivery import Delivery

MAX_IN_FLIGHT = 8
"""The most deliveries of one endpoint that are in flight: being sent, or waiting for a retry."""
MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""The most bytes of the bodies in one queue; a single body may be larger."""
FIRST_DELAY = 1.0
"""Seconds before the first retry, without jitter."""
MAX_DELAY = 60.0
"""The most seconds before a retry."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one attempt."""

    status: int | None = None
    """The status of the response; None if there was none."""
    error: str | None = None
    """Why the attempt failed; None if the endpoint accepted the request."""
    permanent: bool = False
    """Whether to give up at once, because no retry can succeed."""

    @property
    def accepted(self) -> bool:
        """Whether the endpoint accepted the request: its response has a 2xx status."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - the 2xx

    @property
    def result(self) -> str:
        """A label for metrics: ``delivered``, ``refused`` (not 2xx) or ``failed`` (no response)."""
        if self.accepted:
            return "delivered"
        return "failed" if self.status is None else "refused"


def backoff(attempts: int, random: Callable[[], float]) -> float:
    """Return the delay before the next attempt: exponential backoff with jitter.

    Args:
        attempts: The number of failed attempts.
        random: Returns a random number from 0 to 1.

    Returns:
        Seconds: 1, 2, 4 and so on up to 60, each shortened at random by up to a half. So
        deliveries that failed together are not retried together.
    """
    longest: float = min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 30))
    return longest * (1 - random() / 2)


class EndpointQueue:
    """Sends deliveries to one endpoint.

    ``send``, ``on_attempt`` and ``on_done`` may call :meth:`stop`. From then on the queue starts no
    attempt and changes no delivery.

    Ordering: a delivery is sent only when all earlier deliveries that share a channel with it are
    finished. Deliveries that share no channel may overtake each other. A delivery that fails
    therefore blocks only later ones that share a channel with it, or with a delivery that it
    blocks. When :data:`MAX_IN_FLIGHT` deliveries wait for a retry, all others wait too.

    Args:
        send: Makes one attempt and returns its outcome. It reports every failure as an outcome; it
            raises only when it is cancelled.
        on_attempt: Called after each attempt, with the updated delivery and the outcome.
        on_done: Called with each delivery that is delivered or dead.
        clock: Schedules retries.
        now: The wall clock, in seconds since 1970.
        random: Returns random numbers from 0 to 1.
        retry_for: Seconds after the creation of a delivery for which it is retried.
        max_queued: The number of deliveries at which :meth:`has_room` reports a full queue.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        send: Callable[[Delivery], Awaitable[Outcome]],
        on_attempt: Callable[[Delivery, Outcome], None],
        on_done: Callable[[Delivery], None],
        clock: IReactorTime,
        now: Callable[[], float],
        random: Callable[[], float],
        retry_for: float,
        max_queued: int,
    ) -> None:
        self._send = send
        self._on_attempt = on_attempt
        self._on_done = on_done
        self._clock = clock
        self._now = now
        self._random = random
        self._retry_for = retry_for
        self._max_queued = max_queued
        # The channels of each unfinished delivery, by the delivery's id.
        self._queued: dict[str, frozenset[str]] = {}
        self._bytes = 0
        # The unfinished deliveries of each channel; only the first one may be sent.
        self._channel_queues: defaultdict[str, deque[Delivery]] = defaultdict(deque)
        self._ready: deque[Delivery] = deque()
        self._in_flight: dict[str, Deferred[None] | None] = {}
        self._is_starting = False
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._queued)

    def has_room(self, size: int) -> bool:
        """Return whether the queue has room for a delivery with a body of ``size`` bytes.

        An empty queue has room for a body of any size. :meth:`add` itself checks no limit.
        """
        return not self._queued or (
            len(self._queued) < self._max_queued and self._bytes + size <= MAX_QUEUED_BYTES
        )

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery; do nothing if it is queued already, or if the queue is stopped."""
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
        if self._is_starting:  # The loop below is running already.
            return
        self._is_starting = True
        try:
            while self._ready and len(self._in_flight) < MAX_IN_FLIGHT:
                self._start_delivery(self._ready.popleft())
        finally:
            self._is_starting = False

    def _start_delivery(self, delivery: Delivery) -> None:
        self._in_flight[delivery.id] = None
        running = Deferred.fromCoroutine(self._deliver(delivery))
        running.addErrback(self._log_unexpected)
        if self._is_stopped:
            running.cancel()
        elif not running.called:
            self._in_flight[delivery.id] = running

    def _log_unexpected(self, failure: Failure) -> None:
        """Log the failure of a delivery, except the cancellation by :meth:`stop`."""
        if not failure.check(CancelledError):
            self._log.failure("delivering a webhook failed", failure)

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            outcome = await self._send(delivery)
            if self._is_stopped:
                return
            delivery.attempts += 1
            delivery.attempted = self._now()
            delivery.status, delivery.error = outcome.status, outcome.error
            delay = backoff(delivery.attempts, self._random)
            if outcome.accepted:
                delivery.state = "delivered"
            elif outcome.permanent or self._now() + delay > delivery.created + self._retry_for:
                delivery.state = "dead"
            self._on_attempt(delivery, outcome)
            if self._is_stopped:
                return
            if delivery.state != "pending":
                break
            await deferLater(self._clock, delay)
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
        self._is_stopped = True
        in_flight, self._in_flight = self._in_flight, {}
        self._ready.clear()
        for running in in_flight.values():
            if running is not None:
                running.cancel()
