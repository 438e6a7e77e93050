"""The webhooks of a node in a cluster: leader election, and the leader's terms.

The nodes elect one leader, which sends the webhooks of all nodes.
"""

import secrets
from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from reverb.webhooks.cluster.forwarder import EventForwarder
from reverb.webhooks.cluster.leader_term import POLL_INTERVAL, LeaderTerm
from reverb.webhooks.dispatcher import EventListener
from reverb.webhooks.interfaces import (
    DRAIN_TIMEOUT,
    ClusterStoreLostError,
    IDeliveryArchive,
    IWebhookClusterStore,
    IWebhooks,
    IWebhookTransport,
)

_ELECTION_INTERVAL = 2.0
"""Seconds between two attempts of a node to become the leader."""
_RECONNECT_GRACE_MS = 3_000
"""The least delay, in milliseconds, of the checks that a new leader schedules when it begins.

The other nodes may have lost Redis together with the last leader; the delay gives them time to
reconnect.
"""


@implementer(IWebhooks)
class ClusterWebhooks:
    """Takes part in the election, and sends the webhooks of all nodes while this node leads.

    Args:
        store: The cluster store.
        archive: The archive of the cluster's deliveries.
        forwarder: Forwards this node's events to the cluster's queue.
        make_leader_term: Makes a term, given the token with which the leadership was acquired.
        listeners: Called with every event, on the leader.
        wanted: Returns whether an app, by its id, has a webhook that reports occupancy.
        debounce: Seconds by which to delay the report of a departure.
        transport: Sends the requests of all terms; :meth:`stop` stops it.
        clock: Times the election.

    Attributes:
        archive: The archive of the cluster's deliveries.
        term: The current term; None while this node is not the leader.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: IWebhookClusterStore,
        archive: IDeliveryArchive,
        forwarder: EventForwarder,
        make_leader_term: Callable[[str], LeaderTerm],
        listeners: list[EventListener],
        wanted: Callable[[str], bool],
        debounce: int,
        transport: IWebhookTransport,
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self.archive = archive
        self._forwarder = forwarder
        self._make_term = make_leader_term
        self._listeners = listeners
        self._wanted = wanted
        self._debounce_ms = debounce * 1000
        self._transport = transport
        self._clock = clock
        self._leader_token = secrets.token_hex(8)
        self.term: LeaderTerm | None = None
        self._is_stopping = False
        self._stop_deadline = 0.0
        self._running: Deferred[None] | None = None
        self._sleeping: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def add_listener(self, listener: EventListener) -> None:
        """Call a listener with each event while this node is the leader."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Count an app's pending deliveries, if this node is the leader; else return 0."""
        return 0 if self.term is None else self.term.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Start; the Deferred fires at once, while the election continues in the background."""
        self._is_stopping = False
        self._store.track_occupancy(self._debounce_ms, self._wanted)
        self._forwarder.start()
        self._running = Deferred.fromCoroutine(self._run())
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Stop; a leader first sends its pending deliveries, for up to ``DRAIN_TIMEOUT`` seconds.

        If all nodes are stopping, one of them reports the remaining departures, without waiting for
        the end of the debounce delay.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        self._stop_deadline = self._clock.seconds() + DRAIN_TIMEOUT
        self._wake()
        running, self._running = self._running, None
        if running is not None:
            await running
        lost = self._forwarder.stop()
        if lost:
            self._log.warn(
                "webhooks: {count} events may be lost, because Redis had not confirmed them when "
                "this node stopped",
                count=lost,
            )
        await self._transport.stop()

    async def _run(self) -> None:
        while not self._is_stopping:
            await self._attempt(self._lead)
            await self._sleep(_ELECTION_INTERVAL)
        await self._attempt(self._lead_last)

    async def _attempt(self, lead: Callable[[], Awaitable[object]]) -> None:
        """Publish the waiting events and try to lead, if the store is available.

        ClusterStoreLostError is ignored, and any other exception is logged.
        """
        try:
            if self._store.is_available:
                self._forwarder.flush()
                await lead()
        except ClusterStoreLostError:
            pass
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            self._log.failure("webhooks: the leader failed with an error; this node tries again")

    async def _lead_last(self) -> None:
        """If all nodes are stopping, lead and send the remaining events: no other node will."""
        while await self._store.announce_stop() and self._clock.seconds() < self._stop_deadline:
            if not await self._lead():
                await deferLater(self._clock, POLL_INTERVAL)

    async def _lead(self) -> bool:
        """Run one term if this node is elected; return whether it was."""
        if not await self._store.acquire_leadership(self._leader_token):
            return False
        self._log.info("elected as the webhook leader: this node sends the webhooks of all nodes")
        term = self.term = self._make_term(self._leader_token)
        try:
            await term.begin(max(self._debounce_ms, _RECONNECT_GRACE_MS), self._wanted)
            while not self._is_stopping:
                if not await term.poll():
                    await self._sleep(POLL_INTERVAL)
            await term.finish(self._stop_deadline)
        except ClusterStoreLostError as error:
            self._log.info("this node is no longer the webhook leader: {why}", why=str(error))
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
