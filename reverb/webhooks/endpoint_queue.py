"""One endpoint: its queue, in the order of each channel, and its retries."""

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
"""Deliveries that are sent to an endpoint, or wait for their next attempt, at once."""
MAX_QUEUED_BYTES = 32 * 1024 * 1024
FIRST_DELAY = 1.0
MAX_DELAY = 60.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of one attempt."""

    status: int | None = None
    """Of the response, if there was one."""
    error: str | None = None
    """Why there was none, or why it will never be any good."""
    permanent: bool = False
    """Whether another attempt would be in vain."""

    @property
    def accepted(self) -> bool:
        """Whether the endpoint has taken the request."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - the 2xx

    @property
    def result(self) -> str:
        """In one word: ``delivered``, ``refused`` by a response, or ``failed`` without one."""
        if self.accepted:
            return "delivered"
        return "failed" if self.status is None else "refused"


def backoff(attempts: int, random: Callable[[], float]) -> float:
    """Find how long to wait after some failed attempts.

    Args:
        attempts: How many have failed.
        random: Draws a number from 0 to 1.

    Returns:
        Seconds: 1, 2, 4 and so on up to 60, of which up to a half is left out at random, so that
        what failed together does not come back together.
    """
    whole: float = min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 30))
    return whole * (1 - random() / 2)


class EndpointQueue:
    """Sends deliveries to one endpoint.

    Any of the callables may stop it: then it leaves what it has as it is.

    Ordering: a delivery is not sent before all earlier ones that have a channel in common with it
    are done with. Others overtake it, so what one endpoint never takes holds up no other channel.

    Args:
        send: Makes one attempt; its Deferred fires with the outcome, and never fails.
        changed: Called after each attempt, with the delivery as it is then.
        done: Called when a delivery is delivered or dead.
        clock: For the waits.
        now: The wall clock.
        random: Draws numbers from 0 to 1.
        retry_for: Seconds since its creation that a delivery is tried again.
        max_queued: Deliveries that may be here.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        send: Callable[[Delivery], Awaitable[Outcome]],
        changed: Callable[[Delivery, Outcome], None],
        done: Callable[[Delivery], None],
        clock: IReactorTime,
        now: Callable[[], float],
        random: Callable[[], float],
        retry_for: float,
        max_queued: int,
    ) -> None:
        self._send = send
        self._changed = changed
        self._done = done
        self._clock = clock
        self._now = now
        self._random = random
        self._retry_for = retry_for
        self._max_queued = max_queued
        self._queued: dict[str, frozenset[str]] = {}
        self._bytes = 0
        # The deliveries of each channel, of which only the first may be sent.
        self._lanes: defaultdict[str, deque[Delivery]] = defaultdict(deque)
        self._ready: deque[Delivery] = deque()
        self._in_flight: dict[str, Deferred[None] | None] = {}
        self._going_on = False
        self._stopped = False

    def __len__(self) -> int:
        return len(self._queued)

    def has_room(self, size: int) -> bool:
        """Tell whether a delivery of so many bytes fits into the queue."""
        return not self._queued or (
            len(self._queued) < self._max_queued and self._bytes + size <= MAX_QUEUED_BYTES
        )

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery; harmless when it is here already, or when all has stopped."""
        if self._stopped or delivery.id in self._queued:
            return
        channels = delivery.channels
        self._queued[delivery.id] = channels
        self._bytes += len(delivery.body)
        for channel in channels:
            self._lanes[channel].append(delivery)
        if self._is_first(delivery):
            self._ready.append(delivery)
        self._go_on()

    def _is_first(self, delivery: Delivery) -> bool:
        return all(self._lanes[name][0] is delivery for name in self._queued[delivery.id])

    def _go_on(self) -> None:
        if self._going_on:  # What is done at once must not recurse.
            return
        self._going_on = True
        try:
            while self._ready and len(self._in_flight) < MAX_IN_FLIGHT:
                self._begin(self._ready.popleft())
        finally:
            self._going_on = False

    def _begin(self, delivery: Delivery) -> None:
        self._in_flight[delivery.id] = None
        running = Deferred.fromCoroutine(self._deliver(delivery))
        running.addErrback(self._broke_off)
        if self._stopped:
            running.cancel()
        elif not running.called:
            self._in_flight[delivery.id] = running

    def _broke_off(self, failure: Failure) -> None:
        """Leave the delivery as it is when the node stops."""
        if not failure.check(CancelledError):
            self._log.failure("delivering a webhook", failure)

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            outcome = await self._send(delivery)
            if self._stopped:
                return
            delivery.attempts += 1
            delivery.attempted = self._now()
            delivery.status, delivery.error = outcome.status, outcome.error
            wait = backoff(delivery.attempts, self._random)
            if outcome.accepted:
                delivery.state = "delivered"
            elif outcome.permanent or self._now() + wait > delivery.created + self._retry_for:
                delivery.state = "dead"
            self._changed(delivery, outcome)
            if self._stopped:
                return
            if delivery.state != "pending":
                break
            await deferLater(self._clock, wait)
        self._finish(delivery)

    def _finish(self, delivery: Delivery) -> None:
        channels = self._queued.pop(delivery.id)
        self._bytes -= len(delivery.body)
        del self._in_flight[delivery.id]
        self._done(delivery)
        if self._stopped:
            return
        following: dict[str, Delivery] = {}
        for channel in channels:
            lane = self._lanes[channel]
            lane.popleft()
            if lane:
                following[lane[0].id] = lane[0]
            else:
                del self._lanes[channel]
        self._ready.extend(d for d in following.values() if self._is_first(d))
        self._go_on()

    def stop(self) -> None:
        """Give up what is under way; it stays pending."""
        self._stopped = True
        under_way, self._in_flight = self._in_flight, {}
        self._ready.clear()
        for running in under_way.values():
            if running is not None:
                running.cancel()
