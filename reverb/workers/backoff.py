"""Exponential backoff with jitter between restarts of a worker."""

from collections.abc import Callable

_INITIAL_DELAY = 0.5
_MAX_DELAY = 15.0
_STABLE_AFTER = 60.0
"""Seconds of uptime after which the next exit starts a new series of delays."""


class Backoff:
    """The restart delays of one worker: they double until the worker stays up.

    Args:
        random: Returns numbers from 0 to 1 for the jitter, so that workers that exit together
            do not restart together.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._next = _INITIAL_DELAY

    def next_delay(self, uptime: float) -> float:
        """Return the delay before the next restart, and double the one after it.

        Args:
            uptime: Seconds that the worker was up.

        Returns:
            Seconds, from 50 % to 100 % of the current delay: 0.5 s at first, at most 15 s.
        """
        if uptime >= _STABLE_AFTER:
            self._next = _INITIAL_DELAY
        delay, self._next = self._next, min(2 * self._next, _MAX_DELAY)
        return delay * (0.5 + 0.5 * self._random())
