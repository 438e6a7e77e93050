"""The webhooks of a node: takes events, puts them into batches, and has them delivered."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from reverb.interfaces import IApps
from reverb.webhooks.acknowledgements import Acknowledgements
from reverb.webhooks.batches import WAIT, Batch
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IWebhookEvents, IWebhookTransport
from reverb.webhooks.journal import Journal
from reverb.webhooks.sender import Sender

Key = tuple[str, str]
"""An app's id and an endpoint's URL."""

_LAST_WORDS = 3
"""Seconds that what is still to be sent gets at the stop."""


class Webhooks:
    """Gives each event to the application in this process, and to the endpoints that want it.

    Args:
        source: Where events come from.
        apps: Whose endpoints they are for.
        journal: Notes what is to be delivered.
        sender: Delivers.
        acknowledgements: Learns of each event for how many endpoints it is.
        transport: What the sender uses; it is stopped with it.
        clock: For batches.

    Attributes:
        journal: The journal, for those who ask what was delivered.
        sender: The sender, for those who want something delivered again.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        source: IWebhookEvents,
        apps: IApps,
        journal: Journal,
        sender: Sender,
        acknowledgements: Acknowledgements,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._source = source
        self._apps = apps
        self.journal = journal
        self.sender = sender
        self._acknowledgements = acknowledgements
        self._transport = transport
        self._clock = clock
        self._watchers: list[Callable[[WebhookEvent], object]] = []
        self._incoming: deque[WebhookEvent] = deque()
        self._is_routing = False
        self._batches: dict[Key, Batch] = {}
        self._timers: dict[Key, IDelayedCall] = {}

    def watch(self, watcher: Callable[[WebhookEvent], object]) -> None:
        """Call back with every event; what it raises is logged and harms nobody."""
        self._watchers.append(watcher)

    @property
    def is_watched(self) -> bool:
        """Whether the application in this process wants events."""
        return bool(self._watchers)

    # Start and stop

    def start(self) -> "Deferred[None]":
        """Go on with what the journal has, and begin to take events.

        Returns:
            Fires when events are taken.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        self.journal.open()
        self.sender.resume()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        for waiting in self.journal.waiting():
            app = await self._apps.by_id(waiting.event.app_id)
            webhook = None if app is None else app.webhook(waiting.url)
            several = webhook is not None and webhook.batch
            self._batch(waiting.event, waiting.url, several=several)
        await self._source.start(self.take)

    def stop(self) -> "Deferred[None]":
        """Tell what is still to be told, and stop.

        Returns:
            Fires after a few seconds at the latest; what was not delivered is then in the
            journal, as far as that is on a disk.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._source.stop()
        for key in list(self._timers):
            self._timers[key].cancel()
            self._send_batch(key)
        with suppress(defer.TimeoutError):
            await self.sender.idle().addTimeout(_LAST_WORDS, self._clock)
        left = self.sender.stop()
        if left and self.journal.is_lasting:
            self._log.info("{count} webhooks are left for the next start", count=left)
        elif left:
            self._log.warn(
                "{count} webhooks were not delivered and are lost: there is no state_dir",
                count=left,
            )
        await self.journal.close()
        await self._transport.stop()

    # Events

    def take(self, events: Sequence[WebhookEvent]) -> None:
        """Take events from the source, in their order."""
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

    async def _route(self, event: WebhookEvent) -> None:
        for watcher in self._watchers:
            try:
                watcher(event)
            except Exception:  # noqa: BLE001 - a watcher is somebody else's code
                self._log.failure("telling {watcher} of {event}", watcher=watcher, event=event)
        app = await self._apps.by_id(event.app_id)
        webhooks = () if app is None else app.webhooks
        wanting = [webhook for webhook in webhooks if webhook.wants(event.name, event.channel)]
        self._acknowledgements.expect(event.id, len(wanting))
        self.journal.keep(event, [webhook.url for webhook in wanting])
        for webhook in wanting:
            self._batch(event, webhook.url, several=webhook.batch)

    def _batch(self, event: WebhookEvent, url: str, *, several: bool) -> None:
        key = (event.app_id, url)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = Batch(several=several)
        for group in batch.add(event, self._clock.seconds()):
            self.sender.send(*key, group)
        if batch.due_at is not None and key not in self._timers:
            self._timers[key] = self._clock.callLater(WAIT, self._send_batch, key)

    def _send_batch(self, key: Key) -> None:
        self._timers.pop(key)
        group = self._batches[key].take()
        if group:
            self.sender.send(*key, group)
