"""Passes each event to the listeners in this process, and to the endpoints that want the event."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from reverb.interfaces import IApps
from reverb.throttled_log import FailureLog
from reverb.webhooks.batches import BATCH_DELAY, EventBatch
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IJournal, UnbatchedEvent
from reverb.webhooks.sender import Sender

EndpointKey = tuple[str, str]
"""An app's id and an endpoint's URL."""

EventListener = Callable[[WebhookEvent], object]


class _Phase(Enum):
    """The phase of a dispatcher.

    IDLE and ROUTING alternate; STOPPED may follow either, and is final.
    """

    IDLE = "idle"
    ROUTING = "routing"
    """One event is being routed, and other events may wait."""
    STOPPED = "stopped"
    """Events are ignored."""


class Dispatcher:
    """Passes each event to the listeners, and to a batch for each endpoint that wants the event.

    Args:
        apps: Finds an app, which lists its endpoints, by the app's id.
        journal: Records which endpoints will receive an event.
        sender: Delivers the batches.
        listeners: Called with every event; an exception that a listener raises is only logged.
        clock: Schedules the sending of batches.
    """

    def __init__(
        self,
        *,
        apps: IApps,
        journal: IJournal,
        sender: Sender,
        listeners: Sequence[EventListener],
        clock: IReactorTime,
    ) -> None:
        self._log = FailureLog(Logger())
        self._apps = apps
        self._journal = journal
        self._sender = sender
        self._listeners = listeners
        self._clock = clock
        self._incoming: deque[WebhookEvent] = deque()
        self._phase = _Phase.IDLE
        self._routed_waiters: list[Deferred[None]] = []
        self._batches: dict[EndpointKey, EventBatch] = {}
        self._timers: dict[EndpointKey, IDelayedCall] = {}

    @property
    def _is_stopped(self) -> bool:
        return self._phase is _Phase.STOPPED

    async def resume(self, unbatched: Iterable[UnbatchedEvent]) -> None:
        """Add events from the journal to batches again, without calling the listeners.

        Args:
            unbatched: The events that are not part of a delivery yet, the oldest first.
        """
        for entry in unbatched:
            app = await self._apps.by_id(entry.event.app_id)
            webhook = None if app is None else app.webhook(entry.url)
            batching = webhook is not None and webhook.batch
            self._add_to_batch(entry.event, entry.url, batching=batching)

    def dispatch(self, events: Sequence[WebhookEvent]) -> None:
        """Queue events, which are then routed to the listeners and the endpoints in order."""
        if self._is_stopped:
            return
        self._incoming.extend(events)
        if self._phase is _Phase.IDLE:
            self._phase = _Phase.ROUTING
            Deferred.fromCoroutine(self._route_all()).addErrback(
                lambda failure: self._log.failure("routing webhook events failed", failure)
            )

    async def _route_all(self) -> None:
        """Route the queued events to the listeners and the endpoints, one by one."""
        try:
            while self._incoming:
                event = self._incoming.popleft()
                try:
                    await self._route(event)
                except Exception:  # noqa: BLE001 - routing the next event may succeed
                    self._log.failure("routing the webhook event {event} failed", event=event)
        finally:
            if not self._is_stopped:
                self._phase = _Phase.IDLE
            waiters, self._routed_waiters = self._routed_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    async def _route(self, event: WebhookEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener is the application's code
                self._log.failure(
                    "the listener {listener} failed on the webhook event {event}",
                    listener=listener,
                    event=event,
                )
        app = await self._apps.by_id(event.app_id)
        if self._is_stopped:
            return
        webhooks = () if app is None else app.webhooks
        wanting = [webhook for webhook in webhooks if webhook.wants(event.name, event.channel)]
        self._journal.put_unbatched(event, [webhook.url for webhook in wanting])
        for webhook in wanting:
            self._add_to_batch(event, webhook.url, batching=webhook.batch)

    def _add_to_batch(self, event: WebhookEvent, url: str, *, batching: bool) -> None:
        if self._is_stopped:
            return
        key = (event.app_id, url)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = EventBatch(batching=batching)
        for group in batch.add(event, self._clock.seconds()):
            self._sender.send(*key, group)
        # Writing to the journal may have failed in send(), which stops the leader's dispatcher.
        if batch.due_at is not None and key not in self._timers and not self._is_stopped:
            self._timers[key] = self._clock.callLater(BATCH_DELAY, self._send_batch, key)

    def _send_batch(self, key: EndpointKey) -> None:
        self._timers.pop(key)
        group = self._batches[key].take()
        if group:
            self._sender.send(*key, group)

    def routed(self) -> "Deferred[None]":
        """Fire when all dispatched events have been routed."""
        if self._phase is not _Phase.ROUTING:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._routed_waiters.remove)
        self._routed_waiters.append(waiter)
        return waiter

    def flush(self) -> None:
        """Pass all incomplete batches to the sender now."""
        for key, timer in list(self._timers.items()):
            if not self._is_stopped:
                timer.cancel()
                self._send_batch(key)

    def stop(self) -> None:
        """Stop, and discard the events that were not passed to the sender.

        The journal still has the discarded events that were in a batch. The journal does not have
        the discarded events that waited for routing.
        """
        self._phase = _Phase.STOPPED
        self._incoming.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._batches.clear()
