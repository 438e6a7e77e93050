"""Makes deliveries of events, signs them, and has each endpoint's queue send them."""

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
    """Delivers to all endpoints of all apps.

    Args:
        apps: Where secrets and endpoints are looked up, for each attempt.
        journal: Notes every delivery before it is sent.
        transport: Carries the requests.
        done: Called with the ids of a delivery's events when it is done with.
        clock: For waits.
        now: The wall clock.
        next_id: Makes ids of deliveries.
        random: Draws numbers from 0 to 1.
        retry_for: Seconds that a delivery is tried again.
        max_queued: Deliveries that may wait for one endpoint.
        meter: That of the node; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        apps: IApps,
        journal: IJournal,
        transport: IWebhookTransport,
        done: Callable[[Collection[str]], None],
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
        self._acknowledge = done
        self._clock = clock
        self._now = now
        self._random = random
        self._retry_for = retry_for
        self._max_queued = max_queued
        self._meter = meter
        self._next_id = next_id
        self._endpoints: dict[tuple[str, str], EndpointQueue] = {}
        self._failing: set[tuple[str, str]] = set()
        self._idle: list[Deferred[None]] = []
        self._is_stopped = False
        self._dropped = LogThrottle(self._tell_dropped, clock)
        self._died = LogThrottle(self._tell_died, clock)

    # What is to be sent

    def send(self, app_id: str, url: str, events: Sequence[WebhookEvent]) -> Delivery | None:
        """Deliver events in one request.

        Returns:
            The delivery, or None when the endpoint's queue is full: they are dropped.
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
            self._queue(delivery)
        except QueueFullError:
            self._drop(delivery)
            return None
        finally:
            self._journal.release(ids, url)
        return delivery

    def resume(self, pending: Iterable[Delivery]) -> None:
        """Go on with deliveries that the journal has, in their order."""
        for delivery in pending:
            self._endpoint(delivery).add(delivery)

    def replay(self, delivery: Delivery) -> None:
        """Deliver a delivery that is done with once more, as if it had just been made.

        Its ``time_ms`` is new: official SDKs refuse what is older than five minutes.

        Raises:
            QueueFullError: The endpoint has too many waiting; nothing has changed.
        """
        self._queue(renew(delivery, self._now()))

    def _queue(self, delivery: Delivery) -> None:
        endpoint = self._endpoint(delivery)
        if not endpoint.has_room(len(delivery.body)):
            raise QueueFullError(delivery.url)
        self._journal.put(delivery)
        endpoint.add(delivery)

    def _drop(self, delivery: Delivery) -> None:
        count = len(delivery.event_ids)
        for _ in range(count):
            self._dropped.happened(f"{delivery.url} of app {delivery.app_id}")
        if self._meter is not None:
            self._meter.apps[delivery.app_id].webhooks_dropped += count
        self._acknowledge(delivery.event_ids)

    def _tell_dropped(self, endpoint: str, count: int) -> None:
        self._log.error(
            "the queue of the webhook {endpoint} is full; events dropped: {count}",
            count=count,
            endpoint=endpoint,
        )

    def _tell_died(self, endpoint: str, count: int) -> None:
        self._log.error(
            "given up, dead letters of the webhook {endpoint}: {count} more",
            count=count,
            endpoint=endpoint,
        )

    # Endpoints

    def _endpoint(self, delivery: Delivery) -> EndpointQueue:
        key = (delivery.app_id, delivery.url)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = EndpointQueue(
                send=self._attempt,
                changed=self._attempted,
                done=self._done,
                clock=self._clock,
                now=self._now,
                random=self._random,
                retry_for=self._retry_for,
                max_queued=self._max_queued,
            )
            if self._is_stopped:
                endpoint.stop()
        return endpoint

    def queued(self, app_id: str, url: str | None = None) -> int:
        """Count the deliveries that are not done with, of one endpoint or all of an app."""
        return sum(
            len(endpoint)
            for key, endpoint in self._endpoints.items()
            if key[0] == app_id and url in (None, key[1])
        )

    async def _attempt(self, delivery: Delivery) -> Outcome:
        """Send a delivery once."""
        try:
            await self._journal.written()
            app = await self._apps.by_id(delivery.app_id)
            webhook = None if app is None else app.webhook(delivery.url)
            if app is None or webhook is None:
                return Outcome(error="the app has no such webhook any more", permanent=True)
            headers = make_headers(app, webhook, delivery.body)
            status = await self._transport.post(delivery.url, headers, delivery.body)
        except CancelledError:
            raise
        except WebhookTransportError as error:
            return Outcome(error=str(error))
        except Exception as error:  # noqa: BLE001 - the delivery is tried again all the same
            self._log.failure("sending a webhook to {url}", url=delivery.url)
            return Outcome(error=f"the server failed to send it: {type(error).__name__}")
        outcome = Outcome(status=status)
        return outcome if outcome.accepted else Outcome(status=status, error=_refusal(status))

    def _attempted(self, delivery: Delivery, outcome: Outcome) -> None:
        self._journal.put(delivery)
        self._watch_endpoint(delivery, outcome)
        if self._meter is None:
            return
        meter = self._meter.apps[delivery.app_id]
        meter.webhook_attempts[outcome.result] += 1

    def _watch_endpoint(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log when an endpoint begins to fail, and when it works again."""
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

    def _done(self, delivery: Delivery) -> None:
        if delivery.state == "dead":
            self._died.happened(f"{delivery.url} of app {delivery.app_id}")
            if self._meter is not None:
                self._meter.apps[delivery.app_id].webhooks_dead += 1
        self._acknowledge(delivery.event_ids)
        if not any(self._endpoints.values()):
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    # The end

    def idle(self) -> "Deferred[None]":
        """Fire when nothing is left to be delivered."""
        if not any(self._endpoints.values()):
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(waiting)
        return waiting

    def stop(self) -> int:
        """Stop sending; what is not done with stays pending.

        Returns:
            How many deliveries that are.
        """
        self._is_stopped = True
        left = sum(len(endpoint) for endpoint in self._endpoints.values())
        for endpoint in self._endpoints.values():
            endpoint.stop()
        return left


def renew(delivery: Delivery, now: float) -> Delivery:
    """Make a delivery anew, with the same id and events, as if nobody had tried it yet.

    Args:
        delivery: One that is done with.
        now: Seconds since 1970.
    """
    return Delivery(
        id=delivery.id,
        app_id=delivery.app_id,
        url=delivery.url,
        body=renew_body(delivery.body, int(now * 1000)),
        created=now,
    )


def make_headers(app: App, webhook: Webhook, body: bytes) -> dict[str, str]:
    """Make the headers of a request.

    ``Content-Type`` has no charset: the SDK for Node compares all of it.
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


def _refusal(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx
        return f"HTTP status {status}, a redirect, which is not followed"
    return f"HTTP status {status}"
