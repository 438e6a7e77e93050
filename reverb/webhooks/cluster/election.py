"""The election of the webhook leader, in which each node of a cluster takes part."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from reverb.deferred import returns_deferred
from reverb.webhooks.cluster.interfaces import ILeadership, IWebhookClusterStore
from reverb.webhooks.cluster.leader_term import POLL_INTERVAL, LeaderTerm
from reverb.webhooks.interfaces import ClusterStoreLostError

_ELECTION_INTERVAL = 2.0
"""Seconds between two attempts of a node to become the leader."""


class _Phase(Enum):
    """A node's phase in the election.

    STOPPED → RUNNING: :meth:`Election.start`. RUNNING → STOPPING → STOPPED:
    :meth:`Election.stop`.
    """

    STOPPED = "stopped"
    RUNNING = "running"
    """The node is the leader, or tries to become the leader every few seconds."""
    STOPPING = "stopping"
    """A leader finishes its term. If all nodes are stopping, this node may lead once more."""


class Election:
    """Tries to become the leader, and runs a term each time that this node is elected.

    Args:
        store: The cluster store.
        begin_term: Begins a leader term, given the leadership.
        clock: Measures the delays and the deadline of the election.

    Attributes:
        term: The present term; None while this node is not the leader.
    """

    _log = Logger()

    def __init__(
        self,
        store: IWebhookClusterStore,
        begin_term: Callable[[ILeadership], Awaitable[LeaderTerm]],
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._begin_term = begin_term
        self._clock = clock
        self.term: LeaderTerm | None = None
        self._phase = _Phase.STOPPED
        self._stop_deadline = 0.0
        self._running: Deferred[None] = succeed(None)
        self._sleeping: Deferred[None] = succeed(None)

    def start(self) -> None:
        """Start to take part in the election, in the background."""
        self._phase = _Phase.RUNNING
        self._running = self._run()

    @returns_deferred
    async def stop(self, seconds: float) -> None:
        """Leave the election; a leader first sends its pending deliveries.

        If all nodes are stopping, one node sends the debounced webhook events at once, without
        waiting for the end of the debounce delay.

        Args:
            seconds: Seconds after which pending deliveries are left to the next leader.
        """
        if self._phase is not _Phase.RUNNING:
            return
        self._phase = _Phase.STOPPING
        self._stop_deadline = self._clock.seconds() + seconds
        self._sleeping.cancel()
        await self._running
        self._phase = _Phase.STOPPED

    @returns_deferred
    async def _run(self) -> None:
        while self._phase is _Phase.RUNNING:
            await self._attempt(self._lead)
            await self._sleep(_ELECTION_INTERVAL)
        await self._attempt(self._lead_last)

    async def _attempt(self, lead: Callable[[], Awaitable[object]]) -> None:
        """Call ``lead``, if the store is available.

        ClusterStoreLostError is ignored, and any other exception is logged.
        """
        try:
            if self._store.is_available:
                await lead()
        except ClusterStoreLostError:
            pass
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            self._log.failure("webhooks: the leader failed with an error; this node tries again")

    async def _lead_last(self) -> None:
        """If all nodes are stopping, become the leader, and send the events that are left."""
        while await self._store.announce_stop() and self._clock.seconds() < self._stop_deadline:
            if not await self._lead():
                await deferLater(self._clock, POLL_INTERVAL)

    async def _lead(self) -> bool:
        """Run one term if this node is elected; return whether this node was elected."""
        leadership = await self._store.acquire_leadership()
        if leadership is None:
            return False
        self._log.info("elected as the webhook leader: this node sends the webhooks of all nodes")
        try:
            await self._run_term(await self._begin_term(leadership))
        except ClusterStoreLostError as error:
            self._log.info("this node is no longer the webhook leader: {why}", why=str(error))
            raise
        return True

    async def _run_term(self, term: LeaderTerm) -> None:
        self.term = term
        try:
            while self._phase is _Phase.RUNNING:
                if not await term.poll():
                    await self._sleep(POLL_INTERVAL)
            await term.finish(self._stop_deadline)
        finally:
            self.term = None
            term.end()

    async def _sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until :meth:`stop` is called."""
        if self._phase is _Phase.RUNNING:
            self._sleeping = deferLater(self._clock, seconds)
            with suppress(CancelledError):
                await self._sleeping
