"""Tells of what happens again and again once in a while, with how often it did."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

_MOST = 1_000
"""Things that are told apart; when there are more in that while, they are not told."""


class LogThrottle:
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
        now = self._clock.seconds()
        if thing not in self._last and len(self._last) >= _MOST:
            self._forget(now)
            if len(self._last) >= _MOST:
                return
        count = self._counts[thing] = self._counts.get(thing, 0) + 1
        last = self._last.get(thing)
        if last is None or now - last >= self._seconds:
            self._last[thing] = now
            self._counts[thing] = 0
            self._tell(thing, count)

    def _forget(self, now: float) -> None:
        """Forget what has not been told for a while."""
        for thing in [t for t, last in self._last.items() if now - last >= self._seconds]:
            del self._last[thing], self._counts[thing]
