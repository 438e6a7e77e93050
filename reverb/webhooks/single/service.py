"""The webhooks of a node that is alone: it tells what it sees itself."""

from contextlib import suppress

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from reverb.webhooks.dispatcher import Dispatcher, EventListener
from reverb.webhooks.interfaces import (
    DRAIN_TIMEOUT,
    IWebhookEventSource,
    IWebhooks,
    IWebhookTransport,
)
from reverb.webhooks.sender import Sender
from reverb.webhooks.single.archive import JournalArchive
from reverb.webhooks.single.journal import Journal


@implementer(IWebhooks)
class SingleNodeWebhooks:
    """Has this node's events delivered.

    Args:
        source: Where events come from.
        dispatcher: Takes them.
        watchers: Those of the dispatcher.
        journal: Notes what is to be delivered.
        sender: Delivers.
        transport: What the sender uses; it is stopped with it.
        clock: For the stop.

    Attributes:
        journal: The journal.
        sender: The sender.
        archive: For those who ask what was delivered, or want something delivered again.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        source: IWebhookEventSource,
        dispatcher: Dispatcher,
        listeners: list[EventListener],
        journal: Journal,
        sender: Sender,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._source = source
        self._dispatcher = dispatcher
        self._listeners = listeners
        self.journal = journal
        self.sender = sender
        self.archive = JournalArchive(journal, sender)
        self._transport = transport
        self._clock = clock
        self._is_stopping = False

    def add_listener(self, listener: EventListener) -> None:
        """Call back with every event; what it raises is logged and harms nobody."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Count an app's deliveries that are not done with."""
        return self.sender.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Go on with what the journal has, and begin to take events.

        Returns:
            Fires when events are taken.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        self.journal.open()
        self.sender.resume(self.journal.pending())
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._dispatcher.resume(self.journal.waiting())
        if not self._is_stopping:
            await self._source.start(self._dispatcher.take)

    def stop(self) -> "Deferred[None]":
        """Tell what is still to be told, and stop.

        Returns:
            Fires after a few seconds at the latest; what was not delivered is then in the
            journal, as far as that is on a disk.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        end = self._clock.seconds() + DRAIN_TIMEOUT
        await self._source.stop()
        await self._wait(self._dispatcher.routed(), end)
        self._dispatcher.flush()
        await self._wait(self.sender.idle(), end)
        self._dispatcher.stop()
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

    async def _wait(self, last_words: "Deferred[None]", end: float) -> None:
        with suppress(defer.TimeoutError):
            await last_words.addTimeout(max(0.0, end - self._clock.seconds()), self._clock)
