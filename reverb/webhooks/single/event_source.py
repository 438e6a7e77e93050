"""Events of one node alone: what its hub notices, smoothed in its memory."""

from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from reverb.hub.notices import ChannelOccupied, ChannelVacated, MemberAdded, MemberRemoved, Notice
from reverb.protocol.names import INTERNAL_PREFIX
from reverb.webhooks.events import ChannelNotice, WebhookEvent, make_event
from reverb.webhooks.interfaces import IWebhookEventSource
from reverb.webhooks.single.debouncer import Debouncer
from reverb.webhooks.single.journal import Journal


@implementer(IWebhookEventSource)
class HubEventSource:
    """Smooths what the hub of this process notices.

    Whom endpoints know to be there is noted in the journal: those who were there when a process
    ended without a word are told to have left by the next one, unless they have come back.

    Args:
        add_listener: Takes the callback that gets the hub's notices.
        wanted: Whether an app's events are for anybody.
        debounce: Seconds that leaving waits for a return.
        clock: For that.
        journal: Notes who is there.
        next_id: Makes ids of events.
    """

    def __init__(
        self,
        add_listener: "Callable[[Callable[[Notice], None]], None]",
        *,
        wanted: Callable[[str], bool],
        debounce: float,
        clock: IReactorTime,
        journal: Journal,
        next_id: Callable[[], str],
    ) -> None:
        self._add_listener = add_listener
        self._wanted = wanted
        self._debouncer = Debouncer(debounce)
        self._clock = clock
        self._journal = journal
        self._next_id = next_id
        self._tell_all: Callable[[Sequence[WebhookEvent]], None] | None = None
        self._timer: IDelayedCall | None = None
        self._watchlists = False

    def start(self, take: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Begin to tell; fires at once."""
        self._tell_all = take
        if not self._watchlists:
            self._watchlists = True
            self._add_listener(self._notice)
        # Members of a channel are told after it, so they leave before it.
        for app_id, channel, user_id in reversed(self._journal.reported()):
            if not self._wanted(app_id):
                self._journal.set_reported((app_id, channel, user_id), present=False)
            elif user_id:
                self._notice(MemberRemoved(app_id=app_id, channel=channel, user_id=user_id))
            else:
                self._notice(ChannelVacated(app_id=app_id, channel=channel))
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Tell of all who have left, at once: nobody will be there to do it later."""
        self._tell(self._debouncer.flush())
        self._tell_all = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return succeed(None)

    def acknowledge(self, ids: Collection[str]) -> None:
        """Do nothing: the journal keeps what is not delivered."""

    def _notice(self, notice: Notice) -> None:
        if self._tell_all is None or not self._wanted(notice.app_id):
            return
        if isinstance(notice, ChannelNotice) and not notice.channel.startswith(INTERNAL_PREFIX):
            self._tell(self._debouncer.take(notice, self._clock.seconds()))
            self._schedule()

    def _schedule(self) -> None:
        due_at = self._debouncer.due_at
        if self._timer is None and due_at is not None:
            wait = max(0.0, due_at - self._clock.seconds())
            self._timer = self._clock.callLater(wait, self._due)

    def _due(self) -> None:
        self._timer = None
        self._tell(self._debouncer.due(self._clock.seconds()))
        self._schedule()

    def _tell(self, notices: Sequence[ChannelNotice]) -> None:
        if self._tell_all is None or not notices:
            return
        for notice in notices:
            self._note(notice)
        self._tell_all([make_event(self._next_id(), notice) for notice in notices])

    def _note(self, notice: ChannelNotice) -> None:
        """Note who is there, for the next process."""
        match notice:
            case ChannelOccupied() | ChannelVacated():
                place = (notice.app_id, notice.channel, "")
                self._journal.set_reported(place, present=isinstance(notice, ChannelOccupied))
            case MemberAdded() | MemberRemoved():
                place = (notice.app_id, notice.channel, notice.user_id)
                self._journal.set_reported(place, present=isinstance(notice, MemberAdded))
