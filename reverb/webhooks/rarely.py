"""Tells of what happens again and again once in a while, with how often it did."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime


class Rarely:
    """Calls back at most once in a while for each thing.

    Args:
        tell: Called with the thing, and how often it has happened since the last call.
        clock: For the time between calls.
        seconds: That time.
    """

    def __init__(
        self, tell: Callable[[str, int], None], clock: IReactorTime, seconds: float = 60
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def happened(self, thing: str) -> None:
        """Count, and tell if it is time."""
        count = self._counts[thing] = self._counts.get(thing, 0) + 1
        now = self._clock.seconds()
        last = self._last.get(thing)
        if last is None or now - last >= self._seconds:
            self._last[thing] = now
            self._counts[thing] = 0
            self._tell(thing, count)
