"""One worker as its parent sees it: a process that is started, watched, and started again."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.workers.backoff import Backoff
from reverb.workers.heartbeat import PATIENCE, Watchdog
from reverb.workers.log_relay import LogRelay
from reverb.workers.worker_config import FIRST_SOCKET, HEARTBEAT


class Worker:
    """Keeps one process alive, until it is told to stop.

    Args:
        number: From 1.
        orders: What the process is told.
        sockets: The descriptors that it listens on, in their order.
        reactor: The reactor, or a test's.
        backoff: How long to wait before it is started again.
        make_log_relay: Makes what logs a stream of its output.
        patience: Looks without a sign of life after which a process hangs.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        number: int,
        orders: bytes,
        sockets: list[int],
        reactor: Any,
        backoff: Backoff,
        make_log_relay: Callable[[], LogRelay],
        max_missed_heartbeats: int = PATIENCE,
    ) -> None:
        self.number = number
        self._orders = orders
        self._sockets = sockets
        self._reactor = reactor
        self._backoff = backoff
        self._make_relay = make_log_relay
        self._patience = max_missed_heartbeats
        self._watchdog = Watchdog(max_missed_heartbeats)
        self._process: Any = None
        self._pid = 0
        self._started_at = 0.0
        self._again: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start the process."""
        self._again = None
        self._started_at = self._reactor.seconds()
        self._watchdog = Watchdog(self._patience)
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", HEARTBEAT: "r"}
        descriptors |= {FIRST_SOCKET + i: fd for i, fd in enumerate(self._sockets)}
        try:
            self._process = self._reactor.spawnProcess(
                _Watch(self._make_relay(), self._make_relay(), self._watchdog, self._ended),
                sys.executable,
                # The number is for those who look at the list of processes.
                [sys.executable, "-P", "-m", "reverb.workers.child", str(self.number)],
                env=_environment(os.environ),
                childFDs=descriptors,
            )
        except OSError as error:
            # The machine has no room for it now.
            self._start_later(f" cannot be started: {error}")
            return
        self._pid = self._process.pid
        # Its end stays open: that it closes tells the worker that its parent is gone.
        self._process.write(self._orders)

    def look(self) -> None:
        """Look whether the process lives, as is to be done each second; end one that hangs."""
        if self._process is not None and self._stopped is None and self._watchdog.look():
            self._log.error(
                "worker {number}, process {pid}, has given no sign of life for {s} s and is killed",
                number=self.number,
                pid=self._pid,
                s=self._patience,
            )
            self._signal("KILL")

    def stop(self) -> "Deferred[None]":
        """Ask the process to stop, and do not start it again; fires when it has ended."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._process is None:
            return succeed(None)
        if self._stopped is None:
            self._stopped = Deferred()
        self._signal("TERM")
        return self._stopped

    def kill(self) -> None:
        """End the process, if it has not ended."""
        if self._process is not None:
            self._log.warn(
                "worker {number}, process {pid}, does not stop and is killed",
                number=self.number,
                pid=self._pid,
            )
            self._signal("KILL")

    def _signal(self, name: str) -> None:
        # One that has ended already has last words that are still to come.
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(name)

    def _ended(self, how: Any) -> None:
        self._process = None
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        self._start_later(f", process {self._pid}, {_told(how)}")

    def _start_later(self, why: str) -> None:
        pause = self._backoff.pause(self._reactor.seconds() - self._started_at)
        self._log.error(
            "worker {number}{why}; it is started again in {pause:.1f} s",
            number=self.number,
            why=why,
            pause=pause,
        )
        self._again = self._reactor.callLater(pause, self.start)


def _told(how: Any) -> str:
    """Tell how a process has ended, by Twisted's ProcessDone or ProcessTerminated."""
    if how.signal is None:
        return f"ended with exit code {how.exitCode}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(how.signal, f'signal {how.signal}')}"


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Have the worker find the modules where we do."""
    return {**ours, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class _Watch(ProcessProtocol):
    """Hands on what a process writes, that it lives, and that it has ended."""

    def __init__(
        self, output: LogRelay, errors: LogRelay, watchdog: Watchdog, ended: Callable[[Any], None]
    ) -> None:
        self._output = output
        self._errors = errors
        self._watchdog = watchdog
        self._ended = ended

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == HEARTBEAT:
            self._watchdog.alive()
        else:
            super().childDataReceived(childFD, data)

    def outReceived(self, data: bytes) -> None:
        self._output.received(data)

    def errReceived(self, data: bytes) -> None:
        self._errors.received(data)

    def processEnded(self, reason: Failure) -> None:
        self._output.ended()
        self._errors.ended()
        self._ended(reason.value)
