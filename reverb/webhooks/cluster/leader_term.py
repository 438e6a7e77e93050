"""One term of this node as the webhook leader of the cluster."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from reverb.apps import EventName
from reverb.hub.notices import ChannelOccupied, ChannelVacated, MemberAdded, MemberRemoved
from reverb.interfaces import IApps
from reverb.webhooks.cluster.journal import ClusterJournal
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.dispatcher import Dispatcher, EventListener
from reverb.webhooks.events import ChannelNotice, WebhookEvent, make_event
from reverb.webhooks.interfaces import (
    ClusterStoreLostError,
    IJournal,
    IWebhookClusterStore,
    QueueEntry,
)
from reverb.webhooks.sender import Sender

POLL_INTERVAL = 0.25
"""Seconds between two polls of the cluster's queue while the queue is empty."""

MakeSender = Callable[[IJournal, str], Sender]
"""Makes a sender, given a journal and a delivery id. The ids of new deliveries sort after it."""


class LeaderTerm:
    """Sends the webhooks of all nodes, from this node's election until it loses the leadership.

    Call :meth:`begin` once, then :meth:`poll` repeatedly. When the node stops, call :meth:`finish`,
    which hands over to the next leader. :meth:`end` ends the term at once.

    Args:
        leader_token: The token with which this node has acquired the leadership.
        store: The cluster store.
        apps: The apps, with their endpoints.
        make_sender: Makes the sender, given the journal and the id of the latest pending delivery.
        listeners: Called with every event.
        clock: Times batches and timeouts.
    """

    def __init__(
        self,
        leader_token: str,
        *,
        store: IWebhookClusterStore,
        apps: IApps,
        make_sender: MakeSender,
        listeners: Sequence[EventListener],
        clock: IReactorTime,
    ) -> None:
        self._leader_token = leader_token
        self._store = store
        self._apps = apps
        self._make_sender = make_sender
        self._listeners = listeners
        self._clock = clock
        self._journal = ClusterJournal(store, leader_token, clock=clock, on_lost=self.end)
        self._sender: Sender | None = None
        self._dispatcher: Dispatcher | None = None
        self._last_entry_id = ""
        self._has_ended = False

    def queued(self, app_id: str) -> int:
        """Count an app's pending deliveries; 0 until :meth:`begin` has read them."""
        return 0 if self._sender is None else self._sender.queued(app_id)

    async def begin(self, debounce_ms: int, wanted: Callable[[str], bool]) -> None:
        """Begin the term: audit the reported occupancy, and resume the pending deliveries.

        Args:
            debounce_ms: Milliseconds after which to check each channel or user that is reported as
                present but is absent now.
            wanted: Returns whether an app, by its id, has a webhook that reports occupancy.

        Raises:
            ClusterStoreLostError: Another node is the leader, or the store is unreachable.
        """
        await self._store.audit(self._leader_token, debounce_ms, wanted)
        pending = await self._store.pending(self._leader_token)
        latest = pending[-1].id if pending else ""
        self._sender = self._make_sender(self._journal, latest)
        self._dispatcher = Dispatcher(
            apps=self._apps,
            journal=self._journal,
            sender=self._sender,
            listeners=self._listeners,
            track=lambda _event_id, _endpoints: None,
            clock=self._clock,
        )
        self._resume(pending)

    def _resume(self, pending: Sequence[Delivery]) -> None:
        assert self._sender is not None
        for delivery in pending:
            self._journal.mark_stored(delivery)
        if not self._has_ended:
            self._sender.resume(pending)

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
        entries = await self._store.poll(self._leader_token, self._last_entry_id, stopping=stopping)
        self._journal.leadership_confirmed(asked_at)
        for entry in entries:
            await self._process(entry)
            self._last_entry_id = entry.id
        return len(entries)

    async def _process(self, entry: QueueEntry) -> None:
        if self._dispatcher is None or self._has_ended:
            return
        if entry.kind != "delivery":
            self._dispatcher.dispatch([make_entry_event(entry, entry.kind)])
            return
        found = await self._store.find([entry.detail])
        self._resume([delivery for delivery in found if delivery.state == "pending"])
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
        await self._store.release_leadership(self._leader_token)

    async def _drain(self) -> bool:
        """Process the whole queue, then wait until its events are routed and sent.

        Returns:
            True if every delivery is finished; False if the routing or the sending took longer than
            ``POLL_INTERVAL``.
        """
        while await self.poll(stopping=True):
            pass
        assert self._dispatcher is not None
        assert self._sender is not None
        try:
            await self._dispatcher.routed().addTimeout(POLL_INTERVAL, self._clock)
            self._dispatcher.flush()
            await self._sender.idle().addTimeout(POLL_INTERVAL, self._clock)
        except defer.TimeoutError:
            return False
        return True

    def end(self) -> None:
        """End the term at once; pending deliveries are left to the next leader."""
        self._has_ended = True
        if self._dispatcher is not None and self._sender is not None:
            self._dispatcher.stop()
            self._sender.stop()


_CHANNEL_NOTICES: dict[str, Callable[..., ChannelNotice]] = {
    "channel_occupied": ChannelOccupied,
    "channel_vacated": ChannelVacated,
}
_MEMBER_NOTICES: dict[str, Callable[..., ChannelNotice]] = {
    "member_added": MemberAdded,
    "member_removed": MemberRemoved,
}


def make_entry_event(entry: QueueEntry, name: EventName) -> WebhookEvent:
    """Make the event that an entry of the queue describes.

    Args:
        entry: The entry.
        name: The entry's kind, which is the name of an event.

    Returns:
        The event, with the id of the entry.
    """
    app_id, channel = entry.app_id, entry.channel
    if name in _CHANNEL_NOTICES:
        return make_event(entry.id, _CHANNEL_NOTICES[name](app_id=app_id, channel=channel))
    if name in _MEMBER_NOTICES:
        notice = _MEMBER_NOTICES[name](app_id=app_id, channel=channel, user_id=entry.detail)
        return make_event(entry.id, notice)
    return WebhookEvent(
        app_id=app_id, id=entry.id, name=name, channel=channel, json=entry.detail.encode()
    )
