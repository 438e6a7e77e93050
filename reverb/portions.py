"""Divides long work into portions, one in each turn of the reactor, so that clients need not wait.

For example, work of half a microsecond for each of 300,000 channels would block the reactor for
150 ms.
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
    """Yield lists of ``size`` items each; the last list may be shorter. Reads ``items`` lazily."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion


def next_turn(clock: IReactorTime) -> "Deferred[None]":
    """Return a Deferred that fires in the next turn of the reactor."""
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


def run_in_portions(
    clock: IReactorTime, items: Iterable[T], function: Callable[[T], object], *, size: int
) -> "Deferred[None]":
    """Call a function with each item: the first ``size`` items now, the others in later turns.

    If the function raises an exception for one item, the exception is logged, and the function is
    still called with the other items.

    Args:
        clock: The reactor, which schedules the later portions.
        items: The items. If the function changes the collection of the items, pass a copy of the
            collection.
        function: The function.
        size: The number of items in one turn of the reactor.

    Returns:
        Fires after the function has been called with the last item; never fails.
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
