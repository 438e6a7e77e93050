"""Telling subscribers how many they are, for apps that want it.

No count travels between nodes, as two of them could overtake each other. The
node where a subscription came or went sends a hint, and each node that has
subscribers asks the store. What the last of them is told is therefore what is
true when all is at rest.

Source: Pusher's documentation, "Subscription count": channels with more than
100 subscriptions are told every 5 seconds at most.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.apps import App
from reverb.envelope import CountChanged
from reverb.hub.channel import Channel
from reverb.hub.fanout import Fanout
from reverb.hub.notices import Notice, SubscriptionCount
from reverb.interfaces import ChannelReaped, IApps, IBroker, IChannelStore, StoreRefusedError
from reverb.protocol import messages
from reverb.protocol.names import ChannelKind, channel_type

LARGE = 100
"""Subscriptions that a channel may have to be told of every change at once."""
WINDOW = 5.0
"""Seconds between two counts of a channel that has more."""

_UNCOUNTED = (ChannelKind.PRESENCE, ChannelKind.USER)
"""Channels whose subscribers know of each other, or are one user."""

ChannelKey = tuple[str, str]
"""An app's id and a channel's name."""


class _Count:
    """What is known and wanted of one channel's count.

    Attributes:
        told: What all of this node's subscribers were told last; None when
            one of them has not been told yet.
        wanted: Whether the count may have changed since it was asked for.
        ours: Whether it may by what happened on this node, so that it is
            this node's task to tell the other nodes and the watchers.
        noticed: What this node told watchers last; None if another node is
            the last that did, as far as is known.
        doubted: Whether that may have been wrong, as the store was out of
            reach.
        busy: Whether the store is being asked, or the window is not over.
        window: The end of the window, if there is one.
    """

    __slots__ = ("busy", "doubted", "noticed", "ours", "told", "wanted", "window")

    def __init__(self) -> None:
        self.told: int | None = None
        self.wanted = False
        self.ours = False
        self.noticed: int | None = None
        self.doubted = False
        self.busy = False
        self.window: IDelayedCall | None = None


class CountManager:
    """Counts the subscriptions of channels, and tells of it.

    What changes in one turn of the reactor, while the store is asked, or
    within a window, is told together, once.

    Args:
        channels: The channels with subscribers on this node, by app id and name.
        broker: Carries hints between the nodes.
        store: Knows the counts across all nodes.
        apps: Whether an app wants its channels counted.
        clock: For turns and windows.
        fanout: The way to the subscribers of this node.
        notify: Tells watchers.
    """

    _log = Logger()

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
        self._channels = channels
        self._broker = broker
        self._store = store
        self._apps = apps
        self._clock = clock
        self._fanout = fanout
        self._notify = notify
        self._counts: dict[ChannelKey, _Count] = {}
        self._waiting: list[ChannelKey] = []
        self._hinting: ChannelKey | None = None
        self._is_apart = False

    # What may change a count

    def changed(self, app: App, name: str, *, came: bool = False) -> None:
        """Take note that a subscription of this node has come or gone, and tell all nodes.

        Args:
            app: The app.
            name: The channel's name.
            came: Whether there is a new subscriber, who has to be told in any case.
        """
        if not app.subscription_counts or channel_type(name).kind in _UNCOUNTED:
            return
        key = (app.id, name)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
        if came:
            count.told = None
        count.ours = True
        self._want(key, count)

    def invalidate(self, hint: CountChanged) -> None:
        """Take note that a subscription has come or gone on some node."""
        key = (hint.app_id, hint.channel)
        count = self._counts.get(key)
        if count is not None and key != self._hinting:
            self._want(key, count)

    def channel_reaped(self, change: ChannelReaped) -> None:
        """Tell all nodes that subscriptions have gone with a dead one."""
        finding = Deferred.fromCoroutine(self._reaped(change.app_id, change.channel))
        finding.addErrback(self._failed)

    async def _reaped(self, app_id: str, name: str) -> None:
        app = await self._apps.by_id(app_id)
        if app is not None:
            self.changed(app, name)

    def store_restored(self) -> None:
        """Have all nodes count anew, after the store was out of reach.

        What watchers were told of a part of the nodes is put right by the node that told it.
        """
        self._is_apart = False
        for key, count in list(self._counts.items()):
            count.doubted = count.noticed is not None
            self._hint(key)
            self._want(key, count)

    def flush(self) -> None:
        """Tell now what would be told later, as the node is about to stop."""
        for key, count in list(self._counts.items()):
            if count.window is not None:
                count.window.cancel()
                self._free(key, count)
        self._look_at_all()

    # Telling

    def _want(self, key: ChannelKey, count: _Count) -> None:
        if not count.wanted and not count.busy:
            if not self._waiting:
                self._clock.callLater(0, self._look_at_all)
            self._waiting.append(key)
        count.wanted = True

    def _look_at_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for key in waiting:
            self._look(key, self._counts[key])

    def _look(self, key: ChannelKey, count: _Count) -> None:
        ours, count.ours = count.ours, False
        # Until this node is restored itself, a hint may come of another that is restored already.
        self._is_apart = self._is_apart or not self._store.connected
        if not ours and not count.doubted and not self._is_apart:
            count.noticed = None
        count.wanted = False
        count.busy = True
        asking = Deferred.fromCoroutine(self._ask(key, count, ours=ours))
        asking.addErrback(self._failed)

    async def _ask(self, key: ChannelKey, count: _Count, *, ours: bool) -> None:
        """Ask for the count, after the other nodes have been told to do so, and tell it."""
        number = 0
        try:
            if ours:
                self._hint(key)
            number = (await self._store.counts(*key)).subscriptions
            self._tell(key, count, number)
            doubted, count.doubted = count.doubted, False
            if ours or (doubted and number != count.noticed):
                count.noticed = number
                self._notify(SubscriptionCount(app_id=key[0], channel=key[1], count=number))
        finally:
            if number > LARGE:
                count.window = self._clock.callLater(WINDOW, self._free, key, count)
            else:
                self._free(key, count)

    def _hint(self, key: ChannelKey) -> None:
        # It comes back here too, where the store is being asked in any case.
        self._hinting = key
        try:
            self._broker.publish(CountChanged(*key))
        finally:
            self._hinting = None

    def _tell(self, key: ChannelKey, count: _Count, number: int) -> None:
        channel = self._channels.get(key)
        if channel is not None and number != count.told:
            count.told = number
            self._fanout.add(channel, messages.subscription_count(key[1], number), None)

    def _free(self, key: ChannelKey, count: _Count) -> None:
        """Tell what has changed meanwhile, or forget a channel that is nobody's here."""
        count.busy = False
        count.window = None
        if count.wanted:
            count.wanted = False
            self._want(key, count)
        elif key not in self._channels and self._broker.connected:
            # Otherwise the other nodes have not had the hint.
            del self._counts[key]

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreRefusedError):  # The store has logged it.
            return
        self._log.failure("counting subscriptions", failure)
