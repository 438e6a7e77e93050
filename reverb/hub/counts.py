"""Sends subscription counts to subscribers, in apps that enable subscription counts.

Nodes do not send counts to each other, because two counts could arrive in the
wrong order. The node on which a subscription was added or removed publishes an
invalidation, and each node with subscribers asks the store. Once the subscriptions
stop changing, the last count that each subscriber receives is therefore correct.

Source: Pusher's documentation, "Subscription count": channels with more than
100 subscriptions receive a count every 5 seconds at most.
"""

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.apps import App
from reverb.envelope import CountChanged
from reverb.hub.channel import Channel
from reverb.hub.fanout import Fanout
from reverb.interfaces import IApps, IBroker, IChannelStore, StoreRefusedError
from reverb.portions import run_in_portions
from reverb.protocol import messages
from reverb.protocol.changes import ChannelReaped
from reverb.protocol.names import ChannelKind, channel_type
from reverb.protocol.notices import Notice, SubscriptionCount
from reverb.throttled_log import FailureLog

LARGE_CHANNEL = 100
"""The number of subscriptions above which a channel's counts are sent at intervals."""
LARGE_CHANNEL_INTERVAL = 5.0
"""The shortest time in seconds between two counts of a channel above ``LARGE_CHANNEL``."""
WINDOW = 200
"""The most counts that the node requests from the store at the same time."""
_PORTION = 100
"""The most counts that the node invalidates in one turn of the reactor after a store outage."""

_UNCOUNTED = (ChannelKind.PRESENCE, ChannelKind.USER)
"""The kinds of channels without counts.

Subscribers of a presence channel know its members; a server-to-user channel has one user.
"""

ChannelKey = tuple[str, str]
"""An app's id and a channel's name."""


class _Phase(Enum):
    """The phases of a count's refresh.

    Only the methods below the comment "Refreshing" change the phase of a count.
    """

    IDLE = "idle"
    """The node knows of no change since it last asked the store."""
    SCHEDULED = "scheduled"
    """The node asks the store in the next turn of the reactor, or later if the window is full."""
    ASKING = "asking"
    """A call of the store is in progress."""
    WAITING = "waiting"
    """The channel is above ``LARGE_CHANNEL``, and the interval after the last count is not over."""


class _Count:
    """The state of one channel's count on this node.

    Attributes:
        phase: Whether and how the count is being refreshed.
        last_sent: The count that this node last sent to the subscribers; None
            if the node has sent no count, or if a subscriber has joined since.
        changed_since: Whether the count may have changed since the store was asked
            last; True only in the phases ASKING and WAITING.
        changed_here: Whether the count has changed on this node, and this node has yet to
            send an invalidation to the other nodes and a notice to the listeners.
        last_notified: The count in this node's last notice; None if this node has
            sent no notice, or if another node seems to have sent a later notice.
        uncertain: Whether the count in the last notice may be wrong, because the
            store was out of reach.
        interval: The delayed call that ends the phase WAITING; None in other phases.
    """

    __slots__ = (
        "changed_here",
        "changed_since",
        "interval",
        "last_notified",
        "last_sent",
        "phase",
        "uncertain",
    )

    def __init__(self) -> None:
        self.phase = _Phase.IDLE
        self.last_sent: int | None = None
        self.changed_since = False
        self.changed_here = False
        self.last_notified: int | None = None
        self.uncertain = False
        self.interval: IDelayedCall | None = None


class CountManager:
    """Sends the number of a channel's subscriptions to the subscribers and the listeners.

    Several changes of a channel's subscriptions result in one count if the changes
    happen within one turn of the reactor, while one request to the store is in
    progress, or within one interval of a large channel.

    Args:
        channels: The channels with subscribers on this node, by app id and name.
        broker: Carries invalidations between the nodes.
        store: Knows the counts across all nodes.
        apps: The source of apps; an app's settings enable its counts.
        clock: Schedules the refreshes, and measures the intervals of large channels.
        fanout: Sends to the subscribers of this node.
        notify: Sends a notice to the listeners.
    """

    def __init__(
        self,
        *,
        channels: Mapping[ChannelKey, Channel],
        broker: IBroker,
        store: IChannelStore,
        apps: IApps,
        clock: IReactorTime,
        fanout: Fanout,
        notify: Callable[[Notice], None],
    ) -> None:
        self._log = FailureLog(Logger())
        self._channels = channels
        self._broker = broker
        self._store = store
        self._apps = apps
        self._clock = clock
        self._fanout = fanout
        self._notify = notify
        self._counts: dict[ChannelKey, _Count] = {}
        # The counts in the phase SCHEDULED, and the number of counts in the phase ASKING.
        self._scheduled: deque[ChannelKey] = deque()
        self._asking = 0
        self._is_turn_scheduled = False
        # The count whose invalidation this node is publishing right now.
        self._invalidating: ChannelKey | None = None
        # Whether the store was out of reach at any time since it was last restored.
        self._was_degraded = False

    def sizes(self) -> dict[str, int]:
        """Return how many counts this node keeps; see :meth:`reverb.hub.hub.Hub.sizes`."""
        return {"counted channels": len(self._counts)}

    # Changes of a count

    def subscription_changed(self, app: App, name: str, *, joined: bool = False) -> None:
        """Refresh a channel's count on all nodes, after a subscription was added or removed.

        Does nothing if the app does not enable counts, or if the channel is of a kind
        without counts.

        Args:
            app: The app.
            name: The channel's name.
            joined: Whether a subscriber was added. After a subscriber was added, this node
                sends the count even if the count equals the last sent count.
        """
        if not app.subscription_counts or channel_type(name).kind in _UNCOUNTED:
            return
        key = (app.id, name)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
        if joined:
            count.last_sent = None
        count.changed_here = True
        self._changed(key, count)

    def invalidate(self, invalidation: CountChanged) -> None:
        """Refresh the count that an invalidation names, if this node keeps that count."""
        key = (invalidation.app_id, invalidation.channel)
        count = self._counts.get(key)
        if count is not None and key != self._invalidating:
            self._changed(key, count)

    def channel_reaped(self, change: ChannelReaped) -> None:
        """Refresh a channel's count on all nodes, after a dead node was reaped."""
        handling = Deferred.fromCoroutine(self._channel_reaped(change.app_id, change.channel))
        handling.addErrback(self._log_failure)

    async def _channel_reaped(self, app_id: str, name: str) -> None:
        app = await self._apps.by_id(app_id)
        if app is not None:
            self.subscription_changed(app, name)

    def store_restored(self) -> None:
        """After a store outage, refresh on all nodes the counts that this node keeps.

        A count in a notice that this node sent during the outage may include only
        some of the nodes. If the store's count differs from the count in this node's
        last notice, this node sends another notice.
        """
        self._was_degraded = False
        run_in_portions(self._clock, list(self._counts), self._restored, size=_PORTION)

    def _restored(self, key: ChannelKey) -> None:
        count = self._counts.get(key)
        if count is not None:
            count.uncertain = count.last_notified is not None
            self._publish_invalidation(key)
            self._changed(key, count)

    def flush(self) -> None:
        """Refresh the delayed counts now, because the node is about to stop.

        Does not wait for the store's answers.
        """
        for key, count in list(self._counts.items()):
            if count.interval is not None:
                count.interval.cancel()
                self._release(key, count)
        self._refresh_scheduled(len(self._scheduled))

    # Refreshing

    def _changed(self, key: ChannelKey, count: _Count) -> None:
        """Refresh a changed count at the end of the turn, or after the phase ASKING or WAITING."""
        if count.phase is _Phase.IDLE:
            count.phase = _Phase.SCHEDULED
            self._scheduled.append(key)
            self._schedule_turn()
        elif count.phase is not _Phase.SCHEDULED:
            count.changed_since = True

    def _schedule_turn(self) -> None:
        if self._scheduled and self._asking < WINDOW and not self._is_turn_scheduled:
            self._is_turn_scheduled = True
            self._clock.callLater(0, self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_turn_scheduled = False
        self._refresh_scheduled()
        self._schedule_turn()

    def _refresh_scheduled(self, most: int = WINDOW) -> None:
        """Refresh at most ``most`` scheduled counts.

        Stop earlier when ``WINDOW`` calls of the store are in progress.
        """
        for _ in range(min(most, len(self._scheduled))):
            if self._asking >= WINDOW:
                return
            key = self._scheduled.popleft()
            self._start_refresh(key, self._counts[key])

    def _start_refresh(self, key: ChannelKey, count: _Count) -> None:
        changed_here, count.changed_here = count.changed_here, False
        # An invalidation usually means that another node sends a notice. During an outage it may
        # also come from a node that has reached the store again before this one, and sends none.
        self._was_degraded = self._was_degraded or not self._store.connected
        if not changed_here and not count.uncertain and not self._was_degraded:
            count.last_notified = None
        count.phase = _Phase.ASKING
        self._asking += 1
        refreshing = Deferred.fromCoroutine(self._refresh(key, count, changed_here=changed_here))
        refreshing.addErrback(self._log_failure)

    async def _refresh(self, key: ChannelKey, count: _Count, *, changed_here: bool) -> None:
        """Ask the store for a count, and send it to the subscribers and the listeners.

        If the change was on this node, first invalidate the count on the other nodes.
        """
        number = 0
        try:
            if changed_here:
                self._publish_invalidation(key)
            number = (await self._store.counts(*key)).subscriptions
            self._send(key, count, number)
            uncertain, count.uncertain = count.uncertain, False
            if changed_here or (uncertain and number != count.last_notified):
                count.last_notified = number
                self._notify(SubscriptionCount(app_id=key[0], channel=key[1], count=number))
        finally:
            self._asking -= 1
            if number > LARGE_CHANNEL:
                count.phase = _Phase.WAITING
                count.interval = self._clock.callLater(
                    LARGE_CHANNEL_INTERVAL, self._release, key, count
                )
            else:
                self._release(key, count)
            self._schedule_turn()

    def _publish_invalidation(self, key: ChannelKey) -> None:
        # The broker delivers the invalidation to this node too. invalidate() then ignores it,
        # because this node asks the store in any case.
        self._invalidating = key
        try:
            self._broker.publish(CountChanged(*key))
        finally:
            self._invalidating = None

    def _send(self, key: ChannelKey, count: _Count, number: int) -> None:
        channel = self._channels.get(key)
        if channel is not None and number != count.last_sent:
            count.last_sent = number
            self._fanout.add(channel, messages.subscription_count(key[1], number), None)

    def _release(self, key: ChannelKey, count: _Count) -> None:
        """End the phase ASKING or WAITING.

        If the count may have changed during the phase, refresh the count. Delete an
        unchanged count if this node has no subscribers to the channel and the broker
        is connected.
        """
        count.phase = _Phase.IDLE
        count.interval = None
        if count.changed_since:
            count.changed_since = False
            self._changed(key, count)
        elif key not in self._channels and self._broker.connected:
            # While the broker is disconnected, the other nodes miss the invalidation. The count
            # is kept, so that store_restored() publishes the invalidation again.
            del self._counts[key]

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(StoreRefusedError):  # The store has logged it.
            return
        self._log.failure("failed to count subscriptions", failure)
