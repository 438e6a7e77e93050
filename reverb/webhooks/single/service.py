"""The webhooks of a single node, which sends the events of its own source."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from reverb.deferred import returns_deferred
from reverb.webhooks.delivery_factory import IdGenerator
from reverb.webhooks.dispatcher import EventListener
from reverb.webhooks.interfaces import (
    DRAIN_TIMEOUT,
    IWebhookEventSource,
    IWebhooks,
    IWebhookTransport,
)
from reverb.webhooks.pipeline import Pipeline
from reverb.webhooks.single.archive import JournalArchive
from reverb.webhooks.single.journal import Journal


@implementer(IWebhooks)
class SingleNodeWebhooks:
    """Starts and stops the parts that deliver this node's events.

    Args:
        source: Emits events.
        pipeline: Delivers the source's events.
        listeners: The dispatcher's listeners, as a list that :meth:`add_listener` extends.
        journal: Records events and deliveries.
        ids: Generates the ids of events and deliveries.
        transport: The sender's transport; it is stopped after the sender.
        clock: Times how long a stop may take.

    Attributes:
        journal: The journal.
        pipeline: The pipeline.
        archive: Lists and replays the journal's deliveries.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        source: IWebhookEventSource,
        pipeline: Pipeline,
        listeners: list[EventListener],
        journal: Journal,
        ids: IdGenerator,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._source = source
        self.pipeline = pipeline
        self._listeners = listeners
        self.journal = journal
        self.archive = JournalArchive(journal, pipeline.sender)
        self._ids = ids
        self._transport = transport
        self._clock = clock
        self._is_stopping = False

    def add_listener(self, listener: EventListener) -> None:
        """Call a function with each event; an exception that it raises is only logged."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Return the number of an app's pending deliveries."""
        return self.pipeline.sender.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Read the journal, resume its pending deliveries and events, and start the source.

        Returns:
            Fires when the source has started.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        self.journal.open()
        # The wall clock may have been set back since the last process generated its ids.
        self._ids.advance_past(self.journal.latest_id())
        self.pipeline.sender.resume(self.journal.pending())
        return self._start()

    @returns_deferred
    async def _start(self) -> None:
        await self.pipeline.dispatcher.resume(self.journal.unbatched())
        if not self._is_stopping:
            await self._source.start(self.pipeline.dispatcher.dispatch)

    @returns_deferred
    async def stop(self) -> None:
        """Stop the source, send what is pending for up to ``DRAIN_TIMEOUT`` seconds, and stop.

        Returns:
            Fires when everything has stopped. The journal's storage, if there is one, then has the
            deliveries that are still pending.
        """
        self._is_stopping = True
        deadline = self._clock.seconds() + DRAIN_TIMEOUT
        try:
            await self._source.stop().addTimeout(DRAIN_TIMEOUT, self._clock)
        except Exception:  # noqa: BLE001 - an application's source must not keep the journal open
            self._log.failure("webhooks: could not stop the source of events {s}", s=self._source)
        await self.pipeline.drain(deadline - self._clock.seconds())
        self._log_unfinished(self.pipeline.stop())
        try:
            await self.journal.close()
        finally:
            await self._transport.stop()

    def _log_unfinished(self, unfinished: int) -> None:
        if unfinished and self.journal.is_persistent:
            self._log.info(
                "{count} webhook deliveries are unfinished; the next start resumes them",
                count=unfinished,
            )
        elif unfinished:
            self._log.warn(
                "{count} webhook deliveries are unfinished and lost; set state_dir to keep them "
                "across restarts",
                count=unfinished,
            )
