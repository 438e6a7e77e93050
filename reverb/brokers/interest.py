"""A node's subscriptions on the bus: the topics of its channels, and of its watched users."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from reverb.brokers.link import Link, wait_for_all
from reverb.brokers.link_observer import ConnectPhase, LinkObserver

UNSUBSCRIBE_DELAY = 2.0
"""Seconds from the last local unsubscription from a channel until the node unsubscribes from the
channel's topic. Many clients return within this delay."""
_CHUNK_SIZE = 1_000
"""The most names in one call of :meth:`Link.subscribe`."""


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
        self._subscribed: set[bytes] = set()
        self._awaiting_confirmation: dict[bytes, Deferred[None]] = {}
        self._unsubscribe_calls: dict[bytes, IDelayedCall] = {}
        link.observe(ConnectPhase.SUBSCRIBE, self)

    def subscribe(self, name: bytes) -> "Deferred[None] | None":
        """Subscribe to a name, and cancel a pending unsubscription.

        Returns:
            None if the subscription is in place, or if the link is down: the node subscribes when
            it reconnects. Otherwise a Deferred, which fires when the bus has confirmed the
            subscription or when the link is lost. The Deferred never fails.
        """
        unsubscribe_call = self._unsubscribe_calls.pop(name, None)
        if unsubscribe_call is not None:
            unsubscribe_call.cancel()
        if name not in self._subscribed:
            self._subscribed.add(name)
            if self._link.is_open:
                (confirmation,) = self._link.subscribe([name])
                self._await_confirmation(name, confirmation)
        pending = self._awaiting_confirmation.get(name)
        if pending is None:
            return None
        waiting: Deferred[None] = Deferred()
        pending.addBoth(_fire, waiting)
        return waiting

    def _await_confirmation(self, name: bytes, confirmation: "Deferred[None]") -> None:
        self._awaiting_confirmation[name] = confirmation
        confirmation.addBoth(self._confirmed, name)

    def _confirmed(self, _: object, name: bytes) -> None:
        # Also called when the link is lost: after the next connect, the node subscribes again.
        self._awaiting_confirmation.pop(name, None)

    def unsubscribe_later(self, name: bytes) -> None:
        """Unsubscribe from a name after a delay, unless the node subscribes again before then."""
        if name in self._subscribed and name not in self._unsubscribe_calls:
            self._schedule_unsubscribe(name)

    def _schedule_unsubscribe(self, name: bytes) -> None:
        self._unsubscribe_calls[name] = self._link.clock.callLater(
            UNSUBSCRIBE_DELAY, self._unsubscribe, name
        )

    def _unsubscribe(self, name: bytes) -> None:
        del self._unsubscribe_calls[name]
        if name in self._awaiting_confirmation:
            # A late confirmation would be mistaken for that of the next subscription.
            self._schedule_unsubscribe(name)
            return
        self._subscribed.discard(name)
        self._link.unsubscribe(name)

    def stop(self) -> None:
        """Cancel the pending unsubscriptions; called before the link is closed."""
        for call in self._unsubscribe_calls.values():
            call.cancel()
        self._unsubscribe_calls.clear()

    async def link_connected(self) -> None:
        """Subscribe to all names after a connect, and wait for the confirmations."""
        names = [self._broadcast_topic, *self._subscribed]
        confirmations: list[Deferred[None]] = []
        for start in range(0, len(names), _CHUNK_SIZE):
            confirmations += self._link.subscribe(names[start : start + _CHUNK_SIZE])
        await wait_for_all(confirmations)


def _fire(result: object, waiting: "Deferred[None]") -> object:
    """Fire a waiting caller's own Deferred, and pass the result on."""
    waiting.callback(None)
    return result
