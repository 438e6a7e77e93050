"""An LRU cache that bypasses long keys, so that clients cannot fill it with large ones."""

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
        max_entries: The number of results that the cache keeps; it drops the least recently
            used ones first.
        max_length: The longest argument whose result is cached, in characters or bytes.

    Returns:
        The wrapped function. For longer arguments it calls the original one each time.
    """
    cached = lru_cache(maxsize=max_entries)(function)

    def call(text: T) -> R:
        return cached(text) if len(text) <= max_length else function(text)

    return call
