"""The event source of a single node: its hub's notices, debounced in memory."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from reverb.protocol.names import INTERNAL_PREFIX
from reverb.protocol.notices import (
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
    Notice,
)
from reverb.webhooks.delivery_factory import IdGenerator
from reverb.webhooks.events import ChannelNotice, WebhookEvent, make_event
from reverb.webhooks.interfaces import IWebhookEventSource
from reverb.webhooks.single.debouncer import Debouncer
from reverb.webhooks.single.journal import Journal


@implementer(IWebhookEventSource)
class HubEventSource:
    """Debounces the notices of this process's hub, and emits them as events.

    :meth:`on_notice` must be a listener of the hub.

    The journal records which channels and members were last reported as present. After a crash,
    the next process reports the recorded channels as vacated and the recorded members as removed,
    except those that return within the debounce delay.

    Args:
        wants_app: Returns, for an app's id, whether an endpoint or a listener wants any event of
            the app.
        debounce: Seconds for which a departure is delayed; see :class:`Debouncer`.
        clock: Schedules the delayed events.
        journal: Records the reported occupancy.
        ids: Generates the ids of events.
    """

    def __init__(
        self,
        *,
        wants_app: Callable[[str], bool],
        debounce: float,
        clock: IReactorTime,
        journal: Journal,
        ids: IdGenerator,
    ) -> None:
        self._wants_app = wants_app
        self._debouncer = Debouncer(debounce)
        self._clock = clock
        self._journal = journal
        self._ids = ids
        self._emit: Callable[[Sequence[WebhookEvent]], None] | None = None
        self._timer: IDelayedCall | None = None

    def start(self, emit: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Start to emit events; fires at once."""
        self._emit = emit
        # The journal has a channel before its members. In reverse order, the members leave first.
        for app_id, channel, user_id in reversed(self._journal.reported()):
            if not self._wants_app(app_id):
                self._journal.set_reported((app_id, channel, user_id), present=False)
            elif user_id:
                self.on_notice(MemberRemoved(app_id=app_id, channel=channel, user_id=user_id))
            else:
                self.on_notice(ChannelVacated(app_id=app_id, channel=channel))
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Emit all delayed departures now, and stop; fires at once."""
        self._report(self._debouncer.flush())
        self._emit = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return succeed(None)

    def on_notice(self, notice: Notice) -> None:
        """Emit the event of a notice at once or, for a departure, after the debounce delay.

        Ignores notices of internal channels, notices of apps for which ``wants_app`` is False, and
        all notices while the source is not started. The debouncer may cancel or mute a notice.
        """
        if self._emit is None or not self._wants_app(notice.app_id):
            return
        if isinstance(notice, ChannelNotice) and not notice.channel.startswith(INTERNAL_PREFIX):
            self._report(self._debouncer.add(notice, self._clock.seconds()))
            self._schedule()

    def _schedule(self) -> None:
        due_at = self._debouncer.due_at
        if self._timer is None and due_at is not None:
            delay = max(0.0, due_at - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._report_due)

    def _report_due(self) -> None:
        self._timer = None
        self._report(self._debouncer.pop_due(self._clock.seconds()))
        self._schedule()

    def _report(self, notices: Sequence[ChannelNotice]) -> None:
        if self._emit is None or not notices:
            return
        for notice in notices:
            self._record_occupancy(notice)
        self._emit([make_event(self._ids.next(), notice) for notice in notices])

    def _record_occupancy(self, notice: ChannelNotice) -> None:
        """Record a reported arrival or departure in the journal, for the next process."""
        match notice:
            case ChannelOccupied() | ChannelVacated():
                key = (notice.app_id, notice.channel, "")
                self._journal.set_reported(key, present=isinstance(notice, ChannelOccupied))
            case MemberAdded() | MemberRemoved():
                key = (notice.app_id, notice.channel, notice.user_id)
                self._journal.set_reported(key, present=isinstance(notice, MemberAdded))
