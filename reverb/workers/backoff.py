"""How long to wait before a worker that has ended is started again."""

from collections.abc import Callable

_FIRST = 0.5
_LONGEST = 15.0
_STEADY = 60.0
"""Seconds after which a worker's end is not taken for the next of a series."""


class Backoff:
    """The pauses of one worker: twice as long each time, until it stays up.

    Args:
        random: Gives numbers from 0 to 1, so that workers that end together
            are not started together.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._next = _FIRST

    def pause(self, lived: float) -> float:
        """Say how long to wait now.

        Args:
            lived: Seconds that the worker has lived.

        Returns:
            Seconds: from half of the longest of this turn up to all of it.
        """
        if lived >= _STEADY:
            self._next = _FIRST
        longest, self._next = self._next, min(2 * self._next, _LONGEST)
        return longest * (0.5 + 0.5 * self._random())
