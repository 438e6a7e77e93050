"""Sends deliveries to all endpoints of all apps, through one queue per endpoint."""

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.timing import Time
from reverb.webhooks.attempts import Attempts, Outcome
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.delivery_factory import DeliveryFactory
from reverb.webhooks.endpoint_queue import EndpointQueue
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IJournal, QueueFullError
from reverb.webhooks.policies import QueueLimits, RetryPolicy


class Sender:
    """Delivers events to all endpoints of all apps.

    Args:
        journal: Records every delivery before it is sent.
        factory: Creates and renews deliveries.
        attempts: Makes the HTTP requests.
        retry: Decides when a failed delivery is sent again, and when it is given up.
        limits: The limits of each endpoint's queue.
        time: Schedules retries.
        meter: Counts attempts, dropped events and dead letters.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        journal: IJournal,
        factory: DeliveryFactory,
        attempts: Attempts,
        retry: RetryPolicy,
        limits: QueueLimits,
        time: Time,
        meter: Meter,
    ) -> None:
        self._journal = journal
        self._factory = factory
        self._attempts = attempts
        self._retry = retry
        self._limits = limits
        self._time = time
        self._meter = meter
        self._queues: dict[tuple[str, str], EndpointQueue] = {}
        # The error of each failing endpoint; and the failing endpoints that the log has reported.
        self._failing: dict[str, str | None] = {}
        self._reported: set[str] = set()
        self._idle_waiters: list[Deferred[None]] = []
        self._is_stopped = False
        self._dropped = LogThrottle(self._log_dropped, time.clock)
        self._died = LogThrottle(self._log_dead, time.clock)
        self._failed = LogThrottle(self._log_failing, time.clock)

    # New deliveries

    def send(self, app_id: str, url: str, events: Sequence[WebhookEvent]) -> Delivery | None:
        """Queue one delivery that contains the given events.

        Args:
            app_id: The app's id.
            url: The endpoint's URL.
            events: The events; all of them belong to the app ``app_id``.

        Returns:
            The delivery; None if the endpoint's queue is full and the events were dropped.
        """
        delivery = self._factory.create(app_id, url, events)
        try:
            self._enqueue(delivery)
        except QueueFullError:
            self._drop(delivery, len(events))
            return None
        finally:
            self._journal.remove_unbatched([event.id for event in events], url)
        return delivery

    def resume(self, pending: Iterable[Delivery]) -> None:
        """Queue pending deliveries from the journal, in the given order."""
        for delivery in pending:
            self._endpoint_queue(delivery).add(delivery)

    def replay(self, delivery: Delivery) -> None:
        """Queue a finished delivery again, as if it had just been created.

        Raises:
            QueueFullError: The endpoint's queue is full; the delivery is unchanged.
        """
        self._enqueue(self._factory.renew(delivery))

    def _enqueue(self, delivery: Delivery) -> None:
        queue = self._endpoint_queue(delivery)
        if not queue.has_room(len(delivery.body)):
            raise QueueFullError(delivery.url)
        self._journal.put(delivery)
        queue.add(delivery)

    def _endpoint_queue(self, delivery: Delivery) -> EndpointQueue:
        key = (delivery.app_id, delivery.url)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = EndpointQueue(
                send=self._attempts.make,
                on_attempt=self._on_attempt,
                on_done=self._on_done,
                time=self._time,
                retry=self._retry,
                limits=self._limits,
            )
            if self._is_stopped:
                queue.stop()
        return queue

    def _drop(self, delivery: Delivery, events: int) -> None:
        self._dropped.record(f"{delivery.url} of app {delivery.app_id}", events)
        self._meter.apps[delivery.app_id].webhooks_dropped += events

    def _log_dropped(self, endpoint: str, count: int) -> None:
        self._log.error(
            "the queue of the webhook {endpoint} is full; events dropped: {count}",
            count=count,
            endpoint=endpoint,
        )

    def _log_dead(self, endpoint: str, count: int) -> None:
        self._log.error(
            "gave up on deliveries to the webhook {endpoint}; new dead letters: {count}",
            count=count,
            endpoint=endpoint,
        )

    def queued(self, app_id: str, url: str | None = None) -> int:
        """Return the number of pending deliveries of one endpoint, or all endpoints, of an app."""
        return sum(
            len(queue)
            for key, queue in self._queues.items()
            if key[0] == app_id and url in (None, key[1])
        )

    # Attempts

    def _on_attempt(self, delivery: Delivery, outcome: Outcome) -> None:
        self._journal.put(delivery)
        self._log_health_change(delivery, outcome)
        self._meter.apps[delivery.app_id].webhook_attempts[outcome.result] += 1

    def _log_health_change(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log when an endpoint starts to fail, and when it works again.

        For each endpoint, the start of failures is logged at most once a minute.
        """
        endpoint = f"{delivery.url} of app {delivery.app_id}"
        if outcome.accepted and endpoint in self._failing:
            del self._failing[endpoint]
            if endpoint in self._reported:
                self._reported.discard(endpoint)
                self._log.info("the webhook {endpoint} works again", endpoint=endpoint)
        elif not outcome.accepted and endpoint not in self._failing:
            self._failing[endpoint] = outcome.error
            self._failed.record(endpoint)

    def _log_failing(self, endpoint: str, count: int) -> None:
        self._reported.add(endpoint)
        self._log.warn(
            "the webhook {endpoint} fails: {error}{more}",
            endpoint=endpoint,
            error=self._failing[endpoint],
            more=f" (it began to fail {count} times)" if count > 1 else "",
        )

    def _on_done(self, delivery: Delivery) -> None:
        if delivery.state == "dead":
            self._died.record(f"{delivery.url} of app {delivery.app_id}")
            self._meter.apps[delivery.app_id].webhooks_dead += 1
        if not any(self._queues.values()):
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    # Shutdown

    def idle(self) -> "Deferred[None]":
        """Fire when no delivery is pending."""
        if not any(self._queues.values()):
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._idle_waiters.remove)
        self._idle_waiters.append(waiter)
        return waiter

    def stop(self) -> int:
        """Stop sending; unfinished deliveries stay pending.

        Returns:
            The number of deliveries that stay pending.
        """
        self._is_stopped = True
        unfinished = sum(len(queue) for queue in self._queues.values())
        for queue in self._queues.values():
            queue.stop()
        return unfinished
