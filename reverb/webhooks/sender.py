"""Turns events into signed requests, and sends them through one queue per endpoint."""

from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

import reverb
from reverb.apps import App, Webhook
from reverb.interfaces import IApps
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.protocol.signing import sign
from reverb.webhooks.batches import make_body, renew_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.endpoint_queue import EndpointQueue, Outcome
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import (
    IJournal,
    IWebhookTransport,
    QueueFullError,
    WebhookTransportError,
)

_USER_AGENT = f"twisted-reverb/{reverb.__version__}"


class Sender:
    """Delivers events to all endpoints of all apps.

    Args:
        apps: Provides secrets and endpoints; the sender looks up the app for every attempt.
        journal: Records every delivery before it is sent.
        transport: Sends the requests.
        acknowledge: Called with the ids of a delivery's events when the delivery is finished or
            dropped.
        clock: Schedules retries.
        now: The wall clock, in seconds since 1970.
        next_id: Generates the ids of deliveries.
        random: Returns random numbers from 0 to 1.
        retry_for: Seconds after the creation of a delivery for which it is retried.
        max_queued: The number of deliveries at which the queue of an endpoint is full.
        meter: The node's meter; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        apps: IApps,
        journal: IJournal,
        transport: IWebhookTransport,
        acknowledge: Callable[[Collection[str]], None],
        clock: IReactorTime,
        now: Callable[[], float],
        next_id: Callable[[], str],
        random: Callable[[], float],
        retry_for: float,
        max_queued: int,
        meter: Meter | None,
    ) -> None:
        self._apps = apps
        self._journal = journal
        self._transport = transport
        self._acknowledge = acknowledge
        self._clock = clock
        self._now = now
        self._random = random
        self._retry_for = retry_for
        self._max_queued = max_queued
        self._meter = meter
        self._next_id = next_id
        self._queues: dict[tuple[str, str], EndpointQueue] = {}
        self._failing: set[tuple[str, str]] = set()
        self._idle_waiters: list[Deferred[None]] = []
        self._is_stopped = False
        self._dropped = LogThrottle(self._log_dropped, clock)
        self._died = LogThrottle(self._log_dead, clock)

    # New deliveries

    def send(self, app_id: str, url: str, events: Sequence[WebhookEvent]) -> Delivery | None:
        """Queue one delivery that contains the given events.

        Args:
            app_id: The app's id.
            url: The endpoint's URL.
            events: The events, all of this app.

        Returns:
            The delivery; None if the endpoint's queue is full and the events were dropped.
        """
        ids = tuple(event.id for event in events)
        created = self._now()
        body = make_body(int(created * 1000), [event.json for event in events])
        delivery = Delivery(
            id=self._next_id(),
            app_id=app_id,
            url=url,
            body=body,
            created=created,
            event_ids=ids,
        )
        try:
            self._enqueue(delivery)
        except QueueFullError:
            self._drop(delivery)
            return None
        finally:
            self._journal.remove_unbatched(ids, url)
        return delivery

    def resume(self, pending: Iterable[Delivery]) -> None:
        """Queue pending deliveries from the journal, in the given order."""
        for delivery in pending:
            self._endpoint_queue(delivery).add(delivery)

    def replay(self, delivery: Delivery) -> None:
        """Queue a finished delivery again, as if it had just been created.

        Its body gets a new ``time_ms``: Pusher's Python SDK refuses bodies older than five minutes.

        Raises:
            QueueFullError: The endpoint's queue is full; nothing has changed.
        """
        self._enqueue(renew_delivery(delivery, self._now()))

    def _enqueue(self, delivery: Delivery) -> None:
        queue = self._endpoint_queue(delivery)
        if not queue.has_room(len(delivery.body)):
            raise QueueFullError(delivery.url)
        self._journal.put(delivery)
        queue.add(delivery)

    def _drop(self, delivery: Delivery) -> None:
        count = len(delivery.event_ids)
        for _ in range(count):
            self._dropped.record(f"{delivery.url} of app {delivery.app_id}")
        if self._meter is not None:
            self._meter.apps[delivery.app_id].webhooks_dropped += count
        self._acknowledge(delivery.event_ids)

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

    # Attempts

    def _endpoint_queue(self, delivery: Delivery) -> EndpointQueue:
        key = (delivery.app_id, delivery.url)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = EndpointQueue(
                send=self._attempt,
                on_attempt=self._on_attempt,
                on_done=self._on_done,
                clock=self._clock,
                now=self._now,
                random=self._random,
                retry_for=self._retry_for,
                max_queued=self._max_queued,
            )
            if self._is_stopped:
                queue.stop()
        return queue

    def queued(self, app_id: str, url: str | None = None) -> int:
        """Return the number of pending deliveries of an app's endpoint, or of all its endpoints."""
        return sum(
            len(queue)
            for key, queue in self._queues.items()
            if key[0] == app_id and url in (None, key[1])
        )

    async def _attempt(self, delivery: Delivery) -> Outcome:
        """Make one attempt to send a delivery; return each failure as an outcome."""
        try:
            await self._journal.written()
            app = await self._apps.by_id(delivery.app_id)
            webhook = None if app is None else app.webhook(delivery.url)
            if app is None or webhook is None:
                return Outcome(error="the app no longer has this webhook", permanent=True)
            headers = make_headers(app, webhook, delivery.body)
            status = await self._transport.post(delivery.url, headers, delivery.body)
        except CancelledError:
            raise
        except WebhookTransportError as error:
            return Outcome(error=str(error))
        except Exception as error:  # noqa: BLE001 - a retry may succeed
            self._log.failure("sending a webhook to {url} failed", url=delivery.url)
            return Outcome(error=f"the server failed to send the request: {type(error).__name__}")
        outcome = Outcome(status=status)
        return outcome if outcome.accepted else Outcome(status=status, error=_status_error(status))

    def _on_attempt(self, delivery: Delivery, outcome: Outcome) -> None:
        self._journal.put(delivery)
        self._log_health_change(delivery, outcome)
        if self._meter is None:
            return
        meter = self._meter.apps[delivery.app_id]
        meter.webhook_attempts[outcome.result] += 1

    def _log_health_change(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log when an endpoint starts to fail, and when it works again."""
        key = (delivery.app_id, delivery.url)
        if outcome.accepted and key in self._failing:
            self._failing.discard(key)
            self._log.info("the webhook {url} of app {app} works again", url=key[1], app=key[0])
        elif not outcome.accepted and key not in self._failing:
            self._failing.add(key)
            self._log.warn(
                "the webhook {url} of app {app} fails: {error}",
                url=key[1],
                app=key[0],
                error=outcome.error,
            )

    def _on_done(self, delivery: Delivery) -> None:
        if delivery.state == "dead":
            self._died.record(f"{delivery.url} of app {delivery.app_id}")
            if self._meter is not None:
                self._meter.apps[delivery.app_id].webhooks_dead += 1
        self._acknowledge(delivery.event_ids)
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


def renew_delivery(delivery: Delivery, now: float) -> Delivery:
    """Return a copy of a delivery for a replay: pending, with the same id and no attempts yet.

    Args:
        delivery: A finished delivery.
        now: Seconds since 1970; the new creation time, and the new ``time_ms`` of the body.
    """
    return Delivery(
        id=delivery.id,
        app_id=delivery.app_id,
        url=delivery.url,
        body=renew_body(delivery.body, int(now * 1000)),
        created=now,
    )


def make_headers(app: App, webhook: Webhook, body: bytes) -> dict[str, str]:
    """Return the headers of a request.

    ``Content-Type`` has no charset, because Pusher's SDK for Node compares the whole value. A
    ``User-Agent`` among the webhook's headers replaces the server's.
    """
    headers = {"User-Agent": _USER_AGENT}
    if any(name.lower() == "user-agent" for name in webhook.headers):
        headers = {}
    return headers | {
        **webhook.headers,
        "Content-Type": "application/json",
        "X-Pusher-Key": app.key,
        "X-Pusher-Signature": sign(app.secret, body),
    }


def _status_error(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx
        return f"HTTP status {status}, a redirect, which is not followed"
    return f"HTTP status {status}"
