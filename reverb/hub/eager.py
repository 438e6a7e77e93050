"""Runs coroutines synchronously as long as they do not suspend."""

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
    """Run a coroutine, synchronously if it never suspends.

    For many steps, ``Deferred.fromCoroutine`` would double the cost, and only a
    step that waits for a shared store needs it.

    Returns:
        None when the step is done. Otherwise a Deferred that fires when the
        step is done, and fails with the exception that it raises.

    Raises:
        Exception: The exception that the step raises before it first suspends.
    """
    try:
        awaited = step.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_resume(step, awaited))


def _resume(step: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Run a suspended coroutine to its end."""
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


def run_step(session: Session, step: Coroutine[Any, Any, None]) -> Completion:
    """Run a step of a session, and send an error to the client when it fails.

    Returns:
        None when the step is done. Otherwise a Deferred that fires when the
        step is done; it never fails.
    """
    try:
        done = run_eagerly(step)
    except Exception:  # noqa: BLE001 - _report distinguishes errors of the client and the server
        _report(Failure(), session)
        return None
    return done and done.addErrback(_report, session)


def _report(failure: Failure, session: Session) -> None:
    """Send the error to the client, and log it unless it is the client's own or logged already."""
    if failure.check(ClientError):
        session.send_error(cast(ClientError, failure.value))
        return
    if not failure.check(StoreRefusedError):  # The store has logged it.
        _log.failure("failed to serve {socket_id}", failure, socket_id=session.socket_id)
    session.send_error(ClientError("The server could not do this now; try again"))
