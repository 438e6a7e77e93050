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
    """Sends the webhooks of all nodes, from this node's election until it loses the leadership.

    :func:`begin_term` begins a term. Call :meth:`poll` repeatedly. When the node stops, call
    :meth:`finish`, which releases the leadership. :meth:`end` ends the term at once.

    Args:
        leadership: This node's leadership.
        store: The cluster store.
        make_pipeline: Makes the pipeline, given the term's journal.
        clock: Times batches and timeouts.
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
        """Run the occupancy checks that are due, and process the next entries of the queue.

        Args:
            stopping: Whether this node is stopping.

        Returns:
            The number of entries that were read; 0 when the queue has no more.

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
        """Process the queue, send the pending deliveries, and release the leadership.

        Called when this node is stopping.

        Args:
            deadline: The clock's time in seconds after which pending deliveries are left to the
                next leader.

        Raises:
            ClusterStoreLostError: As for :meth:`poll`.
        """
        # Other nodes may be stopping at the same time, and still add entries to the queue.
        while not await self._drain() and self._clock.seconds() < deadline:
            pass
        with suppress(defer.TimeoutError):
            await self._journal.written().addTimeout(1, self._clock)
        self.end()
        await self._leadership.release()

    async def _drain(self) -> bool:
        """Process the whole queue, then wait until its events are routed and sent.

        Returns:
            True if every delivery is finished; False if that takes longer than ``POLL_INTERVAL``.
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
    """Begin a term: audit the reported occupancy, and resume the pending deliveries.

    Args:
        leadership: This node's leadership.
        store: The cluster store.
        make_pipeline: Makes the pipeline, given the term's journal and the greatest id of a pending
            delivery.
        debounce_ms: Milliseconds by which the report of a departure is delayed.
        wanted: Returns, for an app's id, whether an endpoint or a listener wants occupancy events
            of the app.
        clock: Times batches and timeouts.

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
    """Make the event that an entry of the queue describes.

    Args:
        entry: The entry.
        name: The entry's kind, which is the name of an event.

    Returns:
        The event, with the id of the entry.
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
