"""Exponential backoff with jitter between restarts of a worker."""

from collections.abc import Callable

_INITIAL_DELAY = 0.5
_MAX_DELAY = 15.0
_STABLE_AFTER = 60.0
"""Seconds; after a longer uptime, the delays start again from the first one."""


class Backoff:
    """The restart delays of one worker, which double with each restart from 0.5 s to 15 s.

    They start again after an uptime of a minute.

    Args:
        random: Returns numbers from 0 to 1. They become the jitter, so that workers that exit
            together do not restart together.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._next = _INITIAL_DELAY

    def next_delay(self, uptime: float) -> float:
        """Return the delay before the next restart.

        Args:
            uptime: Seconds from the worker's start until its exit.

        Returns:
            Seconds, a random part from 50 % to 100 % of the current delay.
        """
        if uptime >= _STABLE_AFTER:
            self._next = _INITIAL_DELAY
        delay, self._next = self._next, min(2 * self._next, _MAX_DELAY)
        return delay * (0.5 + 0.5 * self._random())
