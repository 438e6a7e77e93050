"""A decorator for coroutine functions whose callers need a Deferred."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

P = ParamSpec("P")
T = TypeVar("T")


def returns_deferred(
    function: Callable[P, Coroutine[Deferred[Any], Any, T]],
) -> "Callable[P, Deferred[T]]":
    """Make a coroutine function return a Deferred, as this project's interfaces require.

    A call of the function runs the coroutine at once, up to the first Deferred that has not fired.

    >>> @returns_deferred
    ... async def fetch(key: str) -> bytes:
    ...     return await store.get(key)

    Args:
        function: The coroutine function or method.

    Returns:
        A function with the same parameters that returns a Deferred. The returned Deferred
        fires with the coroutine's result or fails with the coroutine's exception. Cancelling
        the returned Deferred cancels the Deferred that the coroutine awaits.
    """

    @functools.wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return start
