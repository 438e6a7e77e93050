"""Runs the operations of each session one after the other."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.hub.eager import run_eagerly
from reverb.interfaces import StoreRefusedError
from reverb.protocol.codes import ClientError
from reverb.protocol.session import Completion, Session
from reverb.throttled_log import FailureLog


class StepQueue:
    """Runs the *steps* of this node's sessions: coroutines that may wait for the store.

    An open session has at most one step in flight: the connection holds back the
    client's next message until the step is done. A connection may end while a step
    is in flight. With :meth:`run_after`, the hub removes an ended session from the
    store only after the session's step is done.
    """

    def __init__(self) -> None:
        self._log = FailureLog(Logger())
        self._in_flight: dict[Session, Deferred[None]] = {}

    def __len__(self) -> int:
        """Return the number of sessions with a step in flight."""
        return len(self._in_flight)

    def run(
        self, session: Session, step: Coroutine[Any, Any, None], subscribing_to: str | None = None
    ) -> Completion:
        """Run a step of a session, and send an error to the client if the step fails.

        Args:
            session: The session.
            step: The step.
            subscribing_to: The channel if the step is a subscription; None for another step.

        Returns:
            None if the step is done already. Otherwise a Deferred that fires when
            the step is done, even if the step has failed.
        """
        try:
            done = run_eagerly(step)
        except Exception:  # noqa: BLE001 - _report distinguishes errors of the client and the server
            self._report(Failure(), session, subscribing_to)
            return None
        if done is None:
            return None
        self._in_flight[session] = done
        done.addErrback(self._report, session, subscribing_to)
        done.addCallback(self._finished, session, done)
        return done

    def run_after(self, session: Session, function: Callable[[], None]) -> None:
        """Call a function at once; if the session has a step in flight, when the step is done."""
        in_flight = self._in_flight.get(session)
        if in_flight is None:
            function()
        else:
            in_flight.addCallback(lambda _: function())

    def _finished(self, _: None, session: Session, done: "Deferred[None]") -> None:
        if self._in_flight.get(session) is done:
            del self._in_flight[session]

    def _report(self, failure: Failure, session: Session, channel: str | None) -> None:
        """Send an error to the client; log a server failure that the store has not logged."""
        if failure.check(ClientError):
            session.send_error(cast(ClientError, failure.value), channel)
            return
        if not failure.check(StoreRefusedError):  # The store has logged it.
            self._log.failure("failed to serve {socket_id}", failure, socket_id=session.socket_id)
        session.send_error(ClientError("The server could not do this now; try again"), channel)
