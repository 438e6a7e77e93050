"""A cache for what strangers ask again and again, which cannot be filled with what is large."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T", str, bytes)
R = TypeVar("R")


def cache_short_keys(
    function: Callable[[T], R], *, max_entries: int, max_length: int
) -> Callable[[T], R]:
    """Make a function remember its results for short arguments.

    Args:
        function: Of one text, without effects.
        max_entries: How many results are kept, the last used ones.
        max_length: Length of the max_length argument that is kept.
    """
    remembered = lru_cache(maxsize=max_entries)(function)

    def call(text: T) -> R:
        return remembered(text) if len(text) <= max_length else function(text)

    return call
