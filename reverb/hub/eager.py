"""Steps that may have to wait, and seldom do."""

from collections.abc import Coroutine, Generator
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.interfaces import StoreRefusedError
from reverb.protocol.codes import ClientError
from reverb.protocol.session import Completion, Session

_log = Logger()


def run_eagerly(step: Coroutine[Any, Any, None]) -> "Deferred[None] | None":
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


def run_step(session: Session, step: Coroutine[Any, Any, None]) -> Completion:
    """Carry out a step of a session, and tell the client when it fails.

    Returns:
        None when the step is done. Otherwise fires when it is; it never fails.
    """
    try:
        done = run_eagerly(step)
    except Exception:  # noqa: BLE001 - _failed tells whose fault it is
        _failed(Failure(), session)
        return None
    return done and done.addErrback(_failed, session)


def _failed(failure: Failure, session: Session) -> None:
    if failure.check(ClientError):
        session.send_error(cast(ClientError, failure.value))
        return
    if not failure.check(StoreRefusedError):  # The store has logged it.
        _log.failure("carrying out a message of {socket_id}", failure, socket_id=session.socket_id)
    session.send_error(ClientError("The server could not do this now; try again"))
