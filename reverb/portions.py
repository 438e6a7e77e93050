"""Does long work in portions, one in each turn of the reactor, so that clients do not wait for it.

Work whose size grows with what a node holds would otherwise block the reactor: at 300,000 channels,
half a microsecond for each is already 150 ms.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

T = TypeVar("T")

_log = Logger()


def portions(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Divide items into lists of ``size``; the last one may be shorter. Takes items as needed."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion


def next_turn(clock: IReactorTime) -> "Deferred[None]":
    """Fire in the next turn of the reactor."""
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


def run_in_portions(
    clock: IReactorTime, items: Iterable[T], function: Callable[[T], object], *, size: int
) -> "Deferred[None]":
    """Call a function with each item: with the first ``size`` now, with the others in later turns.

    An exception of one call is logged, and does not affect the others.

    Args:
        clock: The reactor.
        items: The items. What the function changes must not be iterated over directly: pass a copy.
        function: The function.
        size: The number of items in one turn.

    Returns:
        Fires when the function has been called with the last item; never fails.
    """
    return Deferred.fromCoroutine(_run_in_portions(clock, items, function, size))


async def _run_in_portions(
    clock: IReactorTime, items: Iterable[T], function: Callable[[T], object], size: int
) -> None:
    for portion in portions(items, size):
        for item in portion:
            with _log.failuresHandled("failed to handle {item}", item=item):
                function(item)
        if len(portion) == size:
            await next_turn(clock)
