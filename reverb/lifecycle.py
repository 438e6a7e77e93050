"""The phases of a node, the transitions between them, and the stages of its stop."""

from collections.abc import Awaitable, Callable
from enum import Enum, auto

from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()

STOP_STAGE_TIMEOUT = 5
"""Timeout in seconds of each stage of the stop, except the stage that waits for clients."""


class Phase(Enum):
    """A phase of a node."""

    CREATED = auto()
    BOUND = auto()
    """The node is binding its ports, has bound them, or has failed to bind them."""
    STARTING = auto()
    """The store and the broker are starting. The node already serves clients."""
    READY = auto()
    STOPPING = auto()
    STOPPED = auto()


_TRANSITIONS = {
    Phase.CREATED: {Phase.BOUND, Phase.STOPPED},
    Phase.BOUND: {Phase.BOUND, Phase.STARTING, Phase.STOPPING},
    Phase.STARTING: {Phase.READY, Phase.STOPPING},
    Phase.READY: {Phase.STOPPING},
    Phase.STOPPING: {Phase.STOPPED},
    Phase.STOPPED: {Phase.BOUND},
}
_UNAVAILABLE_REASONS = {
    Phase.CREATED: "the node has not been started",
    Phase.BOUND: "the node is starting",
    Phase.STARTING: "the node is starting",
    Phase.STOPPING: "the node is stopping",
    Phase.STOPPED: "the node has stopped",
}


class Lifecycle:
    """The current phase of a node, and the Deferreds that fire when the node has stopped."""

    def __init__(self) -> None:
        self._phase = Phase.CREATED
        self._waiters: list[Deferred[None]] = []

    @property
    def unavailable_reason(self) -> str | None:
        """Why the node is not ready in its current phase; None in the phase ``READY``."""
        return _UNAVAILABLE_REASONS.get(self._phase)

    @property
    def is_bound(self) -> bool:
        """Whether the node is in the phase ``BOUND``."""
        return self._phase is Phase.BOUND

    def bind(self) -> None:
        """Enter the phase ``BOUND``, before the ports are bound.

        Raises:
            RuntimeError: The node is running, or it is stopping.
        """
        self._enter(Phase.BOUND)

    def start(self) -> None:
        """Enter the phase ``STARTING``."""
        self._enter(Phase.STARTING)

    def finish_start(self) -> None:
        """Enter the phase ``READY``, unless the stop began while the node was starting."""
        if self._phase is Phase.STARTING:
            self._enter(Phase.READY)

    def stop(self) -> bool:
        """Enter the phase ``STOPPING``.

        Returns:
            True if the caller must stop the node's parts now, and then call
            :meth:`finish_stop`. False if there is nothing to do, because the node is stopping
            already, has stopped, or has never been started.
        """
        if self._phase is Phase.CREATED:
            self._enter(Phase.STOPPED)
        if self._phase in {Phase.STOPPING, Phase.STOPPED}:
            return False
        self._enter(Phase.STOPPING)
        return True

    def finish_stop(self) -> None:
        """Enter the phase ``STOPPED``, and fire the Deferreds of :meth:`stopped`."""
        self._enter(Phase.STOPPED)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def stopped(self) -> "Deferred[None]":
        """Return a Deferred that fires when the node is in the phase ``STOPPED``."""
        if self._phase is Phase.STOPPED:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _enter(self, phase: Phase) -> None:
        if phase not in _TRANSITIONS[self._phase]:
            reason = self.unavailable_reason or "the node is running"
            raise RuntimeError(f"{reason}; it can start when the Deferred of stopService has fired")
        self._phase = phase


async def run_stage(
    clock: IReactorTime,
    name: str,
    stop: "Callable[[], Awaitable[object] | None]",
    seconds: float = STOP_STAGE_TIMEOUT,
) -> None:
    """Run one stage of the stop. Log a failure or a timeout instead of raising it.

    Args:
        clock: Measures the timeout.
        name: The part of the node that the stage stops, for the log.
        stop: Stops the part.
        seconds: The timeout.
    """
    try:
        await maybeDeferred(stop).addTimeout(seconds, clock)
    except defer.TimeoutError:
        _log.warn("stopping: gave up on {name} after {s} s", name=name, s=seconds)
    except Exception:  # noqa: BLE001 - the other parts must still be stopped
        _log.failure("could not stop {name}", name=name)
