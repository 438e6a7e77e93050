"""Runs a coroutine synchronously until it suspends for the first time."""

from collections.abc import Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred


def run_eagerly(step: Coroutine[Any, Any, None]) -> "Deferred[None] | None":
    """Run a coroutine, synchronously until it suspends for the first time.

    A coroutine that does not wait for another process usually does not suspend. For
    many coroutines that do not suspend, ``Deferred.fromCoroutine`` would double the cost.

    Args:
        step: A coroutine that has not started, for example one that adds a subscription.

    Returns:
        None if the coroutine has already ended. Otherwise a Deferred that fires when the
        coroutine ends, or fails with the exception that the coroutine raises.

    Raises:
        Exception: Any exception that the coroutine raises before it first suspends.
    """
    try:
        awaited = step.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_resume(step, awaited))


def _resume(step: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Run a coroutine to its end, after it has suspended to wait for ``awaited``."""
    try:
        while True:
            try:
                value = yield awaited
            except Exception as error:  # noqa: BLE001 - the step handles it, or fails with it
                awaited = step.throw(error)
            else:
                awaited = step.send(value)
    except StopIteration:
        return
    finally:
        step.close()
