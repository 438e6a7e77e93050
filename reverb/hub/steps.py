"""Steps that may have to wait, and seldom do."""

from collections.abc import Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred


def run(step: Coroutine[Any, Any, None]) -> "Deferred[None] | None":
    """Carry out a step, at once where nothing has to be waited for.

    ``Deferred.fromCoroutine`` costs as much as many a step does, and is needed
    only by those that wait for a shared store.

    Returns:
        None when the step is done. Otherwise fires when it is.

    Raises:
        Exception: What the step raises before it has to wait.
    """
    try:
        waiting = step.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_go_on(step, waiting))


def _go_on(step: Coroutine[Any, Any, None], waiting: Any) -> Generator[Any, Any, None]:
    """Drive a step that waits for something already."""
    try:
        while True:
            try:
                value = yield waiting
            except Exception as error:  # noqa: BLE001 - the step handles it, or fails with it
                waiting = step.throw(error)
            else:
                waiting = step.send(value)
    except StopIteration:
        return
    finally:
        step.close()
