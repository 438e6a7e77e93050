"""The webhooks of a single node, which sends the events of its own event source."""

from collections.abc import Callable
from enum import Enum

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


class _Phase(Enum):
    """The phase of a node's webhooks: CREATED at first, then RUNNING and STOPPED alternately."""

    CREATED = "created"
    RUNNING = "running"
    STOPPED = "stopped"
    """A stop has begun."""


@implementer(IWebhooks)
class SingleNodeWebhooks:
    """Starts and stops the parts that deliver this node's events.

    Args:
        source: Emits events.
        make_pipeline: Makes the pipeline that delivers the source's events from a start to the next
            stop.
        listeners: The dispatcher's listeners; :meth:`add_listener` appends to this list.
        journal: Records events and deliveries.
        ids: Generates the ids of events and deliveries.
        transport: The sender's transport; it is stopped after the sender.
        clock: Measures the time that a stop takes.

    Attributes:
        journal: The journal.
        pipeline: The pipeline of the latest start.
        archive: Lists and replays the journal's deliveries.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        source: IWebhookEventSource,
        make_pipeline: Callable[[], Pipeline],
        listeners: list[EventListener],
        journal: Journal,
        ids: IdGenerator,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._source = source
        self._make_pipeline = make_pipeline
        self._listeners = listeners
        self.journal = journal
        self._ids = ids
        self._transport = transport
        self._clock = clock
        self._phase = _Phase.CREATED
        self._renew_pipeline()

    def _renew_pipeline(self) -> None:
        self.pipeline = self._make_pipeline()
        self.archive = JournalArchive(self.journal, self.pipeline.sender)

    def add_listener(self, listener: EventListener) -> None:
        """Call a function with each event; an exception that the function raises is only logged."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Return the number of an app's pending deliveries."""
        return self.pipeline.sender.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Read the journal, and start the event source.

        Before the start of the source, the pending deliveries and the unbatched events of the
        journal are queued.

        Returns:
            Fires when the source has started.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        if self._phase is _Phase.STOPPED:
            self._renew_pipeline()
        self.journal.open()
        self._phase = _Phase.RUNNING
        # The wall clock may have been set back since the last process generated its ids.
        self._ids.advance_past(self.journal.latest_id())
        self.pipeline.sender.resume(self.journal.pending())
        return self._start()

    @returns_deferred
    async def _start(self) -> None:
        await self.pipeline.dispatcher.resume(self.journal.unbatched())
        if self._phase is _Phase.RUNNING:
            await self._source.start(self.pipeline.dispatcher.dispatch)

    @returns_deferred
    async def stop(self) -> None:
        """Stop the event source, and send pending deliveries, for up to ``DRAIN_TIMEOUT`` seconds.

        Returns:
            Fires when the pipeline, the journal and the transport have stopped. If the journal has
            a storage, deliveries that are still pending are in that storage.
        """
        self._phase = _Phase.STOPPED
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
