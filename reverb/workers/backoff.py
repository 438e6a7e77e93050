"""The delays before the restarts of a worker."""

from collections.abc import Callable

from reverb.backoff import Backoff

_INITIAL_DELAY = 0.5
_MAX_DELAY = 15.0
_STABLE_AFTER = 60.0
"""Seconds of uptime after which the delays start again from the first one."""


class RestartBackoff:
    """The restart delays of one worker, which double with each restart from 0.5 s to 15 s.

    After the worker has run for a minute, the delays start again from 0.5 s.

    Args:
        random: Returns a number from 0 to 1, for the jitter. Because of the jitter, workers that
            exit together do not restart together.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._backoff = Backoff(initial=_INITIAL_DELAY, maximum=_MAX_DELAY, random=random)
        self._restarts = 0

    def next_delay(self, uptime: float) -> float:
        """Return the delay before the next restart.

        Args:
            uptime: Seconds from the worker's start until its exit.

        Returns:
            The delay in seconds, which the jitter has shortened by up to 50 %.
        """
        if uptime >= _STABLE_AFTER:
            self._restarts = 0
        self._restarts += 1
        return self._backoff.delay(self._restarts)
