"""What one node wants of a bus: the channels that its own clients are subscribed to."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from reverb.brokers.link import Link, wait_for_all

UNSUBSCRIBE_DELAY = 2.0
"""Seconds after its last subscriber that a channel is given up; many come back at once."""
_PORTION = 1_000
"""Channels in one command."""


class Interest:
    """Keeps a link subscribed to what is wanted.

    Args:
        link: The way to the bus.
        common: The name that is always wanted.
    """

    def __init__(self, link: Link, common: bytes) -> None:
        self._link = link
        self._common = common
        self._wanted: set[bytes] = set()
        self._asked: dict[bytes, Deferred[None]] = {}
        self._leaving: dict[bytes, IDelayedCall] = {}
        # First of all: a store asks for members only after this.
        link.connect_hooks.insert(0, self._subscribe_to_all)

    def want(self, name: bytes) -> "Deferred[None] | None":
        """Want a name; return what :meth:`reverb.interfaces.IBroker.subscribe` does."""
        leaving = self._leaving.pop(name, None)
        if leaving is not None:
            leaving.cancel()
        if name not in self._wanted:
            self._wanted.add(name)
            if self._link.is_open:
                (asked,) = self._link.subscribe([name])
                self._ask(name, asked)
        asked_already = self._asked.get(name)
        if asked_already is None:
            return None
        waiting: Deferred[None] = Deferred()
        asked_already.addBoth(_tell, waiting)
        return waiting

    def _ask(self, name: bytes, asked: "Deferred[None]") -> None:
        self._asked[name] = asked
        asked.addBoth(self._answered, name)

    def _answered(self, _: object, name: bytes) -> None:
        # When the link was lost, the next connect subscribes again.
        self._asked.pop(name, None)

    def leave(self, name: bytes) -> None:
        """Give a name up, unless it is wanted again soon."""
        if name in self._wanted and name not in self._leaving:
            self._leaving[name] = self._link.clock.callLater(UNSUBSCRIBE_DELAY, self._give_up, name)

    def _give_up(self, name: bytes) -> None:
        del self._leaving[name]
        if name in self._asked:  # Its answer must not be taken for that of a later subscription.
            self._leaving[name] = self._link.clock.callLater(UNSUBSCRIBE_DELAY, self._give_up, name)
            return
        self._wanted.discard(name)
        self._link.unsubscribe(name)

    def stop(self) -> None:
        """Give nothing up any more: the link is about to end."""
        for call in self._leaving.values():
            call.cancel()
        self._leaving.clear()

    async def _subscribe_to_all(self) -> None:
        """Subscribe anew after a connect."""
        names = [self._common, *self._wanted]
        answers: list[Deferred[None]] = []
        for start in range(0, len(names), _PORTION):
            answers += self._link.subscribe(names[start : start + _PORTION])
        await wait_for_all(answers)


def _tell(result: object, waiting: "Deferred[None]") -> object:
    waiting.callback(None)
    return result
