"""The webhooks of nodes that share them: one of the nodes sends, whichever has seen what."""

import secrets
from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from reverb.webhooks.cluster.forwarder import EventForwarder
from reverb.webhooks.cluster.leader_term import POLL, LeaderTerm
from reverb.webhooks.dispatcher import EventListener
from reverb.webhooks.interfaces import (
    DRAIN_TIMEOUT,
    ClusterStoreLostError,
    IDeliveryArchive,
    IWebhookClusterStore,
    IWebhooks,
    IWebhookTransport,
)

_CONTEST = 2.0
"""Seconds between two attempts of the other nodes to become the sender."""
_GRACE_MS = 3_000
"""Milliseconds in which nodes come back that were cut off together with the last sender."""


@implementer(IWebhooks)
class ClusterWebhooks:
    """Has the events of all nodes delivered, by this node or another.

    Args:
        shared: What nodes share.
        archive: For those who ask what was delivered, or want something delivered again.
        reporter: Brings to the others what this node sees.
        make_leader_term: Makes the term of an office that has been taken.
        watchers: Called with every event, on the node that sends.
        wanted: Tells whether anything of an app is to be told.
        debounce: Seconds that leaving waits for a return.
        transport: What senders use; it is stopped with this.
        clock: For the times between attempts.

    Attributes:
        archive: The archive.
        term: While this node sends.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        shared: IWebhookClusterStore,
        archive: IDeliveryArchive,
        forwarder: EventForwarder,
        make_leader_term: Callable[[str], LeaderTerm],
        listeners: list[EventListener],
        wanted: Callable[[str], bool],
        debounce: int,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._shared = shared
        self.archive = archive
        self._forwarder = forwarder
        self._make_term = make_leader_term
        self._listeners = listeners
        self._wanted = wanted
        self._wait = debounce * 1000
        self._transport = transport
        self._clock = clock
        self._leader_token = secrets.token_hex(8)
        self.term: LeaderTerm | None = None
        self._is_stopping = False
        self._end = 0.0
        self._running: Deferred[None] | None = None
        self._sleeping: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def add_listener(self, listener: EventListener) -> None:
        """Call back with events while this node sends."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Count an app's deliveries that this node has to send."""
        return 0 if self.term is None else self.term.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Begin; fires at once, as this node tries by itself to become the sender."""
        self._is_stopping = False
        self._shared.track_occupancy(self._wait, self._wanted)
        self._forwarder.start()
        self._running = Deferred.fromCoroutine(self._run())
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Stop; if this node sends, it goes on for a few seconds, and then leaves it to another.

        When all nodes stop, one of them tells all that is left.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        self._end = self._clock.seconds() + DRAIN_TIMEOUT
        self._wake()
        running, self._running = self._running, None
        if running is not None:
            await running
        lost = self._forwarder.stop()
        if lost:
            self._log.warn("{count} webhooks could not be shared, and are lost", count=lost)
        await self._transport.stop()

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._attempt(self._serve)
            await self._sleep(_CONTEST)
        await self._attempt(self._serve_at_last)

    async def _attempt(self, serve: Callable[[], Awaitable[object]]) -> None:
        try:
            if self._shared.is_available:
                self._forwarder.flush()
                await serve()
        except ClusterStoreLostError:
            pass
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the next attempt may fare better
            self._log.failure("sending webhooks")

    async def _serve_at_last(self) -> None:
        """Send what no other node will, as all of them stop."""
        while await self._shared.announce_stop() and self._clock.seconds() < self._end:
            if not await self._serve():
                await deferLater(self._clock, POLL)

    async def _serve(self) -> bool:
        """Send for as long as this node may, if it may; tell whether it has."""
        if not await self._shared.acquire_leadership(self._leader_token):
            return False
        self._log.info("this node sends the webhooks of all nodes")
        term = self.term = self._make_term(self._leader_token)
        try:
            await term.begin(max(self._wait, _GRACE_MS), self._wanted)
            while not self._is_stopping:
                if not await term.poll():
                    await self._sleep(POLL)
            await term.finish(self._end)
        except ClusterStoreLostError as error:
            self._log.info("this node does not send webhooks any more: {why}", why=str(error))
            raise
        finally:
            self.term = None
            term.end()
        return True

    async def _sleep(self, seconds: float) -> None:
        if self._is_stopping:
            return
        self._sleeping = Deferred()
        self._timer = self._clock.callLater(seconds, self._sleeping.callback, None)
        await self._sleeping
        self._sleeping = self._timer = None

    def _wake(self) -> None:
        if self._timer is not None and self._sleeping is not None and self._timer.active():
            self._timer.cancel()
            self._sleeping.callback(None)
