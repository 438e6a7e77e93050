"""The webhooks of a single node, which sends the events of its own source."""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

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


class SingleNodeParts(NamedTuple):
    """The parts that deliver a node's events from one start to the next stop."""

    source: IWebhookEventSource
    """Emits events."""
    dispatcher: Dispatcher
    """Routes the source's events."""
    journal: Journal
    """Records events and deliveries."""
    sender: Sender
    """Sends deliveries."""


@implementer(IWebhooks)
class SingleNodeWebhooks:
    """Starts and stops the parts that deliver this node's events.

    Args:
        make_parts: Makes the parts, now and for each start after a stop.
        listeners: The dispatchers' listeners, as a list that :meth:`add_listener` extends.
        transport: The senders' transport; it is stopped after the sender.
        clock: Times how long a stop may take.

    Attributes:
        journal: The journal.
        sender: The sender.
        archive: Lists and replays the journal's deliveries.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        make_parts: Callable[[], SingleNodeParts],
        listeners: list[EventListener],
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._make_parts = make_parts
        self._listeners = listeners
        self._transport = transport
        self._clock = clock
        self._renew_parts()

    def _renew_parts(self) -> None:
        self._source, self._dispatcher, self.journal, self.sender = self._make_parts()
        self.archive = JournalArchive(self.journal, self.sender)
        self._is_stopping = False

    def add_listener(self, listener: EventListener) -> None:
        """Call a function with each event; an exception that it raises is only logged."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Return the number of an app's pending deliveries."""
        return self.sender.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Read the journal, resume its pending deliveries and events, and start the source.

        Returns:
            Fires when the source has started.

        Raises:
            JournalError: The journal cannot be read or written.
        """
        if self._is_stopping:
            self._renew_parts()
        self.journal.open()
        self.sender.resume(self.journal.pending())
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._dispatcher.resume(self.journal.unbatched())
        if not self._is_stopping:
            await self._source.start(self._dispatcher.dispatch)

    def stop(self) -> "Deferred[None]":
        """Stop the source, send what is pending for up to ``DRAIN_TIMEOUT`` seconds, and stop.

        Returns:
            Fires when everything has stopped. The journal's storage, if there is one, then has the
            deliveries that are still pending.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        deadline = self._clock.seconds() + DRAIN_TIMEOUT
        await self._source.stop()
        await self._wait_until(deadline, self._dispatcher.routed())
        self._dispatcher.flush()
        await self._wait_until(deadline, self.sender.idle())
        self._dispatcher.stop()
        unfinished = self.sender.stop()
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
        await self.journal.close()
        await self._transport.stop()

    async def _wait_until(self, deadline: float, finished: "Deferred[None]") -> None:
        with suppress(defer.TimeoutError):
            await finished.addTimeout(max(0.0, deadline - self._clock.seconds()), self._clock)
