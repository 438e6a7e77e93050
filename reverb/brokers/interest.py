"""A node's subscriptions on the bus: the topics of its channels, and of its watched users."""

from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from reverb.brokers.link import Link, LinkLostError
from reverb.brokers.link_observer import ConnectPhase, LinkObserver
from reverb.brokers.reply_deadlines import ReplyOverdueError
from reverb.portions import portions

UNSUBSCRIBE_DELAY = 2.0
"""Seconds from the last local unsubscription from a channel until the node unsubscribes from the
channel's topic. Many clients return within this delay."""
PORTION = 500
"""The most names in one subscription command after a connect; the next command waits until the bus
has confirmed these names. Also the most unsubscriptions in one turn of the reactor."""


class Interest(LinkObserver):
    """Keeps a link subscribed to the topics of the node's interest.

    A *name* is the name of a topic on the bus.

    Args:
        link: The link to the bus.
        broadcast_topic: The name of the topic to which every node is subscribed.
    """

    def __init__(self, link: Link, broadcast_topic: bytes) -> None:
        self._link = link
        self._broadcast_topic = broadcast_topic
        # The number of connects and losses of the link until now, and this number at the time when
        # the node subscribed to each name. The node must subscribe again to a name with a lower
        # number.
        self._connects = 0
        self._subscribed: dict[bytes, int] = {}
        self._awaiting_confirmation: dict[bytes, Deferred[None]] = {}
        # The clock's time at which to unsubscribe from each name, the earliest time first.
        self._unsubscribe_at: dict[bytes, float] = {}
        self._unsubscribing: IDelayedCall | None = None
        link.observe(ConnectPhase.SUBSCRIBE, self)

    def subscribe(self, name: bytes) -> "Deferred[None] | None":
        """Subscribe to a name, and cancel the name's pending unsubscription.

        Returns:
            None if the subscription is in place, or if the link is down and the node subscribes at
            the next connect. Otherwise a Deferred, which fires when the bus has confirmed the
            subscription, when the link is lost, or when the confirmation is overdue. The Deferred
            never fails.
        """
        self._unsubscribe_at.pop(name, None)
        if self._subscribed.get(name) != self._connects:
            self._subscribed[name] = self._connects
            if self._link.is_open:
                self._send([name]).addErrback(lambda failure: failure.trap(LinkLostError))
        pending = self._awaiting_confirmation.get(name)
        if pending is None:
            return None
        waiting: Deferred[None] = Deferred()
        pending.addBoth(_fire, waiting)
        return self._link.deadlines.limit(waiting).addErrback(_ignore_overdue)

    def _send(self, names: list[bytes]) -> "Deferred[None]":
        """Subscribe to names now; return the Deferred of :meth:`Link.subscribe`."""
        confirmation = self._link.subscribe(names)
        self._awaiting_confirmation.update(dict.fromkeys(names, confirmation))
        return confirmation.addBoth(self._confirmed, names)

    def _confirmed(self, result: object, names: list[bytes]) -> object:
        # Also called when the link is lost: after the next connect, the node subscribes again.
        for name in names:
            self._awaiting_confirmation.pop(name, None)
        return result

    def unsubscribe_later(self, name: bytes) -> None:
        """Unsubscribe from a name after a delay, unless the node subscribes again before then."""
        if name in self._subscribed and name not in self._unsubscribe_at:
            self._schedule_unsubscribe(name)

    def _schedule_unsubscribe(self, name: bytes) -> None:
        clock = self._link.clock
        self._unsubscribe_at[name] = clock.seconds() + UNSUBSCRIBE_DELAY
        if self._unsubscribing is None:
            self._unsubscribing = clock.callLater(UNSUBSCRIBE_DELAY, self._unsubscribe_due)

    def _unsubscribe_due(self) -> None:
        """Unsubscribe from at most ``PORTION`` names for which ``UNSUBSCRIBE_DELAY`` is over."""
        clock = self._link.clock
        now = clock.seconds()
        for name in list(islice(self._unsubscribe_at, PORTION)):
            if self._unsubscribe_at[name] > now:
                break
            del self._unsubscribe_at[name]
            self._unsubscribe(name)
        self._unsubscribing = None
        if self._unsubscribe_at:
            delay = max(0, next(iter(self._unsubscribe_at.values())) - now)
            self._unsubscribing = clock.callLater(delay, self._unsubscribe_due)

    def _unsubscribe(self, name: bytes) -> None:
        if name in self._awaiting_confirmation:
            # A late confirmation would be mistaken for that of the next subscription.
            self._schedule_unsubscribe(name)
            return
        if self._subscribed.pop(name) == self._connects:
            self._link.unsubscribe(name)

    def stop(self) -> None:
        """Cancel the pending unsubscriptions; called before the link is closed."""
        if self._unsubscribing is not None:
            self._unsubscribing.cancel()
            self._unsubscribing = None
        self._unsubscribe_at.clear()

    async def link_connected(self) -> None:
        """Subscribe to all names after a connect, in portions.

        Returns when the bus has confirmed all subscriptions. Before that, a call of
        :meth:`subscribe` subscribes to its name at once, even if a later portion has the name.
        """
        self._connects += 1
        await self._send([self._broadcast_topic])
        for portion in portions(list(self._subscribed), PORTION):
            names = [name for name in portion if self._is_unsent(name)]
            if names:
                self._subscribed.update(dict.fromkeys(names, self._connects))
                await self._send(names)

    def _is_unsent(self, name: bytes) -> bool:
        return self._subscribed.get(name, self._connects) != self._connects

    def link_lost(self) -> None:
        """Note that the bus has lost this node's subscriptions: the next connect renews them."""
        self._connects += 1


def _fire(result: object, waiting: "Deferred[None]") -> object:
    """Fire ``waiting``; return ``result`` for the next callback of the confirmation."""
    waiting.callback(None)
    return result


def _ignore_overdue(failure: Failure) -> None:
    failure.trap(ReplyOverdueError)
