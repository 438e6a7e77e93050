"""Gives each event to the application in this process, and to the endpoints that want it."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from reverb.interfaces import IApps
from reverb.webhooks.batches import WAIT, EventBatch
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IJournal, UnbatchedEvent
from reverb.webhooks.sender import Sender

EndpointKey = tuple[str, str]
"""An app's id and an endpoint's URL."""

EventListener = Callable[[WebhookEvent], object]


class Dispatcher:
    """Takes settled events, in order, and puts them into batches for the sender.

    Args:
        apps: Whose endpoints they are for.
        journal: Notes what endpoints will get.
        sender: Delivers.
        watchers: Called with every event; what they raise is logged and harms nobody.
        expect: Called with each event's id, and for how many endpoints it is.
        clock: For batches.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        apps: IApps,
        journal: IJournal,
        sender: Sender,
        listeners: Sequence[EventListener],
        expect: Callable[[str, int], None],
        clock: IReactorTime,
    ) -> None:
        self._apps = apps
        self._journal = journal
        self._sender = sender
        self._listeners = listeners
        self._expect = expect
        self._clock = clock
        self._incoming: deque[WebhookEvent] = deque()
        self._is_routing = False
        self._is_stopped = False
        self._waiting: list[Deferred[None]] = []
        self._batches: dict[EndpointKey, EventBatch] = {}
        self._timers: dict[EndpointKey, IDelayedCall] = {}

    async def resume(self, waiting: Iterable[UnbatchedEvent]) -> None:
        """Go on with events that were kept for endpoints, and are in no delivery yet."""
        for kept in waiting:
            app = await self._apps.by_id(kept.event.app_id)
            webhook = None if app is None else app.webhook(kept.url)
            batching = webhook is not None and webhook.batch
            self._batch(kept.event, kept.url, batching=batching)

    def take(self, events: Sequence[WebhookEvent]) -> None:
        """Take events from where they come from, in their order."""
        self._incoming.extend(events)
        if not self._is_routing:
            self._is_routing = True
            Deferred.fromCoroutine(self._route_all()).addErrback(
                lambda failure: self._log.failure("routing webhooks", failure)
            )

    async def _route_all(self) -> None:
        """Route one event after the other, however long it takes to find its app."""
        try:
            while self._incoming:
                event = self._incoming.popleft()
                try:
                    await self._route(event)
                except Exception:  # noqa: BLE001 - the next event may fare better
                    self._log.failure("routing the event {event}", event=event)
        finally:
            self._is_routing = False
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    async def _route(self, event: WebhookEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a watcher is somebody else's code
                self._log.failure("telling {watcher} of {event}", listener=listener, event=event)
        app = await self._apps.by_id(event.app_id)
        if self._is_stopped:
            return
        webhooks = () if app is None else app.webhooks
        wanting = [webhook for webhook in webhooks if webhook.wants(event.name, event.channel)]
        self._expect(event.id, len(wanting))
        self._journal.keep(event, [webhook.url for webhook in wanting])
        for webhook in wanting:
            self._batch(event, webhook.url, batching=webhook.batch)

    def _batch(self, event: WebhookEvent, url: str, *, batching: bool) -> None:
        if self._is_stopped:
            return
        key = (event.app_id, url)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = EventBatch(batching=batching)
        for group in batch.add(event, self._clock.seconds()):
            self._sender.send(*key, group)
        # The sender stops this when it cannot note what it is to send.
        if batch.due_at is not None and key not in self._timers and not self._is_stopped:
            self._timers[key] = self._clock.callLater(WAIT, self._send_batch, key)

    def _send_batch(self, key: EndpointKey) -> None:
        self._timers.pop(key)
        group = self._batches[key].take()
        if group:
            self._sender.send(*key, group)

    def routed(self) -> "Deferred[None]":
        """Fire when of all that was taken it is known whom it is for."""
        if not self._is_routing:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def flush(self) -> None:
        """Give the sender what waits for others to come with it."""
        for key, timer in list(self._timers.items()):
            if not self._is_stopped:
                timer.cancel()
                self._send_batch(key)

    def stop(self) -> None:
        """Forget what has not been given to the sender; it is in the journal."""
        self._is_stopped = True
        self._incoming.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._batches.clear()
