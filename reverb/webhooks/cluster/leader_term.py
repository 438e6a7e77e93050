"""One term of this node as the webhook leader of the cluster."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from reverb.apps import EventName
from reverb.webhooks.cluster.interfaces import ILeadership, IWebhookClusterStore, QueueEntry
from reverb.webhooks.cluster.journal import ClusterJournal
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import OCCUPANCY_EVENTS, WebhookEvent, make_occupancy_event
from reverb.webhooks.interfaces import ClusterStoreLostError, IJournal
from reverb.webhooks.pipeline import Pipeline

POLL_INTERVAL = 0.25
"""Seconds between two polls of the cluster's queue while the queue is empty."""

_RECONNECT_GRACE_MS = 3_000
"""The least delay, in milliseconds, of the checks that :func:`begin_term` schedules.

The other nodes may have lost Redis together with the last leader; the delay gives them time to
reconnect.
"""

MakePipeline = Callable[[IJournal, str], Pipeline]
"""Makes a pipeline, given a journal and an id that the ids of new deliveries must exceed."""


class LeaderTerm:
    """Sends the webhooks of all nodes while this node is the leader.

    :func:`begin_term` begins a term. Call :meth:`poll` repeatedly. When the node stops, call
    :meth:`finish`, which releases the leadership. :meth:`end` ends the term at once.

    Args:
        leadership: This node's leadership.
        store: The cluster store.
        make_pipeline: Called with the term's journal; returns the term's pipeline.
        clock: The reactor's clock, which schedules the timeouts of the term.
    """

    def __init__(
        self,
        leadership: ILeadership,
        *,
        store: IWebhookClusterStore,
        make_pipeline: Callable[[IJournal], Pipeline],
        clock: IReactorTime,
    ) -> None:
        self._leadership = leadership
        self._store = store
        self._clock = clock
        self._journal = ClusterJournal(leadership, clock=clock, on_lost=self.end)
        self._pipeline = make_pipeline(self._journal)
        self._last_entry_id = ""
        self._has_ended = False

    def queued(self, app_id: str) -> int:
        """Count an app's pending deliveries."""
        return self._pipeline.sender.queued(app_id)

    def resume(self, pending: Sequence[Delivery]) -> None:
        """Queue pending deliveries from the store, in the given order."""
        for delivery in pending:
            self._journal.mark_stored(delivery)
        if not self._has_ended:
            self._pipeline.sender.resume(pending)

    async def poll(self, *, stopping: bool = False) -> int:
        """Run the occupancy checks that are due; process the next entries of the cluster's queue.

        Args:
            stopping: Whether this node is stopping.

        Returns:
            The number of queue entries that were read; 0 if the queue has no newer entry.

        Raises:
            ClusterStoreLostError: Another node is the leader, the store is unreachable, or this
                term has ended.
        """
        if self._has_ended:
            raise ClusterStoreLostError("the journal could not be written")
        asked_at = self._clock.seconds()
        entries = await self._leadership.poll(self._last_entry_id, stopping=stopping)
        self._journal.leadership_confirmed(asked_at)
        for entry in entries:
            await self._process(entry)
            self._last_entry_id = entry.id
        return len(entries)

    async def _process(self, entry: QueueEntry) -> None:
        if self._has_ended:
            return
        if entry.kind != "delivery":
            self._pipeline.dispatcher.dispatch([make_entry_event(entry, entry.kind)])
            return
        found = await self._store.find([entry.detail])
        self.resume([delivery for delivery in found if delivery.state == "pending"])
        self._journal.remove_entries([entry.id])

    async def finish(self, deadline: float) -> None:
        """Process the cluster's queue, send the pending deliveries, and release the leadership.

        A node that is stopping calls this method.

        Args:
            deadline: When to stop sending, as a time of the reactor's clock in seconds. The next
                leader sends the deliveries that are still pending.

        Raises:
            ClusterStoreLostError: Another node is the leader, the store is unreachable, or this
                term has ended.
        """
        # Other nodes may be stopping at the same time, and still add entries to the queue.
        while not await self._drain() and self._clock.seconds() < deadline:
            pass
        with suppress(defer.TimeoutError):
            await self._journal.written().addTimeout(1, self._clock)
        self.end()
        await self._leadership.release()

    async def _drain(self) -> bool:
        """Process the cluster's whole queue, then wait until all deliveries are finished.

        Returns:
            True if all deliveries are finished; False if the wait for them has exceeded
            ``POLL_INTERVAL`` seconds.
        """
        while await self.poll(stopping=True):
            pass
        return await self._pipeline.drain(POLL_INTERVAL)

    def end(self) -> None:
        """End the term at once; pending deliveries are left to the next leader."""
        self._has_ended = True
        self._pipeline.stop()


async def begin_term(
    leadership: ILeadership,
    *,
    store: IWebhookClusterStore,
    make_pipeline: MakePipeline,
    debounce_ms: int,
    wanted: Callable[[str], bool],
    clock: IReactorTime,
) -> LeaderTerm:
    """Begin a leader term, and queue the pending deliveries of the cluster.

    A channel or user that was reported as present, and is absent now, is checked after a delay.

    Args:
        leadership: This node's leadership.
        store: The cluster store.
        make_pipeline: Called with the term's journal and the greatest id of a pending delivery;
            returns the term's pipeline.
        debounce_ms: Milliseconds by which the report of a departure is delayed.
        wanted: Returns, for an app's id, whether an endpoint or a listener wants occupancy events
            of the app.
        clock: The reactor's clock, which schedules the timeouts of the term.

    Raises:
        ClusterStoreLostError: This node has lost the leadership, or the store is unreachable.
    """
    await leadership.audit(max(debounce_ms, _RECONNECT_GRACE_MS), wanted)
    pending = await leadership.pending()
    latest = pending[-1].id if pending else ""
    term = LeaderTerm(
        leadership,
        store=store,
        make_pipeline=lambda journal: make_pipeline(journal, latest),
        clock=clock,
    )
    term.resume(pending)
    return term


def make_entry_event(entry: QueueEntry, name: EventName) -> WebhookEvent:
    """Make the webhook event that an entry of the cluster's queue describes.

    Args:
        entry: The queue entry.
        name: The event's name, which is the entry's kind.

    Returns:
        The event, whose id is the entry's id.
    """
    if name in OCCUPANCY_EVENTS:
        return make_occupancy_event(entry.id, name, (entry.app_id, entry.channel, entry.detail))
    return WebhookEvent(
        app_id=entry.app_id,
        id=entry.id,
        name=name,
        channel=entry.channel,
        json=entry.detail.encode(),
    )
