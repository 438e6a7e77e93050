"""Computes the delays of exponential backoff with jitter; the caller supplies random numbers.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import math
from collections.abc import Callable

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """The delays between repeated attempts: they grow by a factor, up to a maximum.

    >>> backoff = Backoff(initial=0.5, maximum=15, random=random.random)
    >>> await deferLater(reactor, backoff.delay(failures))
    """

    initial: float
    """The delay in seconds after the first failure, without jitter."""
    factor: float = 2.0
    """The ratio of each delay to the previous one, without jitter."""
    maximum: float
    """The longest delay in seconds."""
    jitter: float = 0.5
    """The largest fraction, from 0 to 1, by which a delay is shortened at random.

    Clients that fail at the same moment therefore retry at different moments.
    """
    random: Callable[[], float]
    """Returns a random number from 0 to 1."""

    def delay(self, failures: int) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            failures: The number of consecutive failures, at least 1.
        """
        try:
            longest = min(self.maximum, self.initial * math.pow(self.factor, failures - 1))
        except OverflowError:
            longest = self.maximum
        return longest * (1 - self.jitter * self.random())
