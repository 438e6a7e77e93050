"""A cache for what strangers ask again and again, which cannot be filled with what is large."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T", str, bytes)
R = TypeVar("R")


def remember_short(function: Callable[[T], R], *, entries: int, longest: int) -> Callable[[T], R]:
    """Make a function remember its results for short arguments.

    Args:
        function: Of one text, without effects.
        entries: How many results are kept, the last used ones.
        longest: Length of the longest argument that is kept.
    """
    remembered = lru_cache(maxsize=entries)(function)

    def call(text: T) -> R:
        return remembered(text) if len(text) <= longest else function(text)

    return call
