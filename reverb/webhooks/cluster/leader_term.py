"""The time in which this node sends the webhooks of all nodes."""

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

POLL = 0.25
"""Seconds between two looks of the sender at what has happened."""

MakeSender = Callable[[IJournal, str], Sender]
"""Makes a sender with a journal, whose deliveries come after the one with an id."""


class LeaderTerm:
    """Sends what all nodes have seen, until another node does.

    Args:
        office: The name of the office that this node has just taken.
        shared: What nodes share.
        apps: Whose endpoints they are.
        make_sender: Makes the sender.
        watchers: Called with every event.
        clock: For batches.
    """

    def __init__(
        self,
        leader_token: str,
        *,
        shared: IWebhookClusterStore,
        apps: IApps,
        make_sender: MakeSender,
        listeners: Sequence[EventListener],
        clock: IReactorTime,
    ) -> None:
        self._leader_token = leader_token
        self._shared = shared
        self._apps = apps
        self._make_sender = make_sender
        self._listeners = listeners
        self._clock = clock
        self._journal = ClusterJournal(shared, leader_token, clock=clock, lost=self.end)
        self._sender: Sender | None = None
        self._dispatcher: Dispatcher | None = None
        self._read = ""
        self._has_ended = False

    def queued(self, app_id: str) -> int:
        """Count an app's deliveries that are not done with."""
        return 0 if self._sender is None else self._sender.queued(app_id)

    async def begin(self, wait: int, wanted: Callable[[str], bool]) -> None:
        """Take over what was left.

        Args:
            wait: Milliseconds after which who has gone without a word is told to have left.
            wanted: Tells whether anything of an app is to be told.

        Raises:
            ClusterStoreLostError: Another node sends by now, or it is not known.
        """
        await self._shared.audit(self._leader_token, wait, wanted)
        pending = await self._shared.pending(self._leader_token)
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
            self._journal.know(delivery)
        if not self._has_ended:
            self._sender.resume(pending)

    async def poll(self, *, stopping: bool = False) -> int:
        """Take what has happened on all nodes, and see to what is due.

        Args:
            stopping: Whether this node stops.

        Returns:
            How many entries the queue had.

        Raises:
            ClusterStoreLostError: As for :meth:`begin`.
        """
        if self._has_ended:
            raise ClusterStoreLostError("what happened could not be noted")
        asked = self._clock.seconds()
        entries = await self._shared.poll(self._leader_token, self._read, stopping=stopping)
        self._journal.used(asked)
        for entry in entries:
            await self._take(entry)
            self._read = entry.id
        return len(entries)

    async def _take(self, entry: QueueEntry) -> None:
        if self._dispatcher is None or self._has_ended:
            return
        if entry.kind != "delivery":
            self._dispatcher.dispatch([event_of(entry, entry.kind)])
            return
        found = await self._shared.find([entry.detail])
        self._resume([delivery for delivery in found if delivery.state == "pending"])
        self._journal.forget([entry.id])

    async def finish(self, end: float) -> None:
        """Send what is left, as this node stops.

        Args:
            end: When to leave what is not sent by then, in seconds of the clock.

        Raises:
            ClusterStoreLostError: As for :meth:`begin`.
        """
        # Again and again, as the other nodes may stop too meanwhile.
        while not await self._send_all() and self._clock.seconds() < end:
            pass
        with suppress(defer.TimeoutError):
            await self._journal.written().addTimeout(1, self._clock)
        self.end()
        await self._shared.release_leadership(self._leader_token)

    async def _send_all(self) -> bool:
        """Take all there is, and wait a moment for it to be sent; tell whether it is."""
        while await self.poll(stopping=True):
            pass
        assert self._dispatcher is not None
        assert self._sender is not None
        try:
            await self._dispatcher.routed().addTimeout(POLL, self._clock)
            self._dispatcher.flush()
            await self._sender.idle().addTimeout(POLL, self._clock)
        except defer.TimeoutError:
            return False
        return True

    def end(self) -> None:
        """Send nothing more; another node goes on with what is not done."""
        self._has_ended = True
        if self._dispatcher is not None and self._sender is not None:
            self._dispatcher.stop()
            self._sender.stop()


_CHANNELS: dict[str, Callable[..., ChannelNotice]] = {
    "channel_occupied": ChannelOccupied,
    "channel_vacated": ChannelVacated,
}
_MEMBERS: dict[str, Callable[..., ChannelNotice]] = {
    "member_added": MemberAdded,
    "member_removed": MemberRemoved,
}


def event_of(entry: QueueEntry, name: EventName) -> WebhookEvent:
    """Make the event of an entry in the queue.

    Args:
        entry: The entry.
        name: Its kind, which is the name of an event.
    """
    app_id, channel = entry.app_id, entry.channel
    if name in _CHANNELS:
        return make_event(entry.id, _CHANNELS[name](app_id=app_id, channel=channel))
    if name in _MEMBERS:
        notice = _MEMBERS[name](app_id=app_id, channel=channel, user_id=entry.detail)
        return make_event(entry.id, notice)
    return WebhookEvent(
        app_id=app_id, id=entry.id, name=name, channel=channel, json=entry.detail.encode()
    )
