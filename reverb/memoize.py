"""An LRU cache that stores no long keys, so that clients cannot make the cache large."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T", str, bytes)
R = TypeVar("R")


def memoize_short_keys(
    function: Callable[[T], R], *, max_entries: int, max_length: int
) -> Callable[[T], R]:
    """Wrap a function with an LRU cache for short arguments.

    Args:
        function: A function of one string, without side effects.
        max_entries: The number of results that the cache keeps; the cache drops the least
            recently used results first.
        max_length: The longest argument whose result is cached, in characters or bytes.

    Returns:
        The wrapped function. For an argument longer than ``max_length``, the wrapped function
        calls ``function`` each time.
    """
    cached = lru_cache(maxsize=max_entries)(function)

    def call(text: T) -> R:
        return cached(text) if len(text) <= max_length else function(text)

    return call
