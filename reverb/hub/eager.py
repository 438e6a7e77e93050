"""Runs a coroutine synchronously until it suspends for the first time."""

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
    """Run a coroutine, synchronously until it suspends for the first time.

    A step that does not wait for another process usually never suspends.
    ``Deferred.fromCoroutine`` would double the cost of many such steps.

    Args:
        step: A coroutine that has not started, for example a subscription.

    Returns:
        None when the step is done. Otherwise a Deferred that fires when the step
        is done, or fails with the exception that the step raises.

    Raises:
        Exception: The step raised it before it first suspended.
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


def run_step(session: Session, step: Coroutine[Any, Any, None]) -> Completion:
    """Run a step of a session, and send an error to the client when the step fails.

    Returns:
        None when the step is done or has failed. Otherwise a Deferred that fires
        when the step is done or has failed.
    """
    try:
        done = run_eagerly(step)
    except Exception:  # noqa: BLE001 - _report distinguishes errors of the client and the server
        _report(Failure(), session)
        return None
    return done and done.addErrback(_report, session)


def _report(failure: Failure, session: Session) -> None:
    """Send the error to the client, and log a failure of the server that is not logged yet."""
    if failure.check(ClientError):
        session.send_error(cast(ClientError, failure.value))
        return
    if not failure.check(StoreRefusedError):  # The store has logged it.
        _log.failure("failed to serve {socket_id}", failure, socket_id=session.socket_id)
    session.send_error(ClientError("The server could not do this now; try again"))
