"""One worker, as the supervisor manages it: a process to start, monitor and restart."""

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

from reverb.workers.backoff import RestartBackoff
from reverb.workers.heartbeat import MAX_MISSED_HEARTBEATS, Watchdog
from reverb.workers.log_relay import LogRelay
from reverb.workers.worker_config import FIRST_SOCKET_DESCRIPTOR, HEARTBEAT_DESCRIPTOR


class Worker:
    """Starts one worker process, and restarts it until :meth:`stop` is called.

    Args:
        number: The worker's number, from 1.
        config: The encoded :class:`reverb.workers.worker_config.WorkerConfig`.
        sockets: The file descriptors to listen on, in the order of the worker's endpoints.
        reactor: The reactor, or a fake one in tests.
        backoff: The delays before the restarts.
        make_log_relay: Makes a log relay for one output stream of the process.
        max_missed_heartbeats: A worker counts as hung after this many consecutive checks (one a
            second) without a heartbeat.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        number: int,
        config: bytes,
        sockets: list[int],
        reactor: Any,
        backoff: RestartBackoff,
        make_log_relay: Callable[[], LogRelay],
        max_missed_heartbeats: int = MAX_MISSED_HEARTBEATS,
    ) -> None:
        self.number = number
        self._config = config
        self._sockets = sockets
        self._reactor = reactor
        self._backoff = backoff
        self._make_relay = make_log_relay
        self._max_missed_heartbeats = max_missed_heartbeats
        self._watchdog = Watchdog(max_missed_heartbeats)
        self._process: Any = None
        self._pid = 0
        self._started_at = 0.0
        self._restart_call: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start the process, and restart it after each exit until :meth:`stop` is called."""
        self._restart_call = None
        self._started_at = self._reactor.seconds()
        self._watchdog = Watchdog(self._max_missed_heartbeats)
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", HEARTBEAT_DESCRIPTOR: "r"}
        descriptors |= {FIRST_SOCKET_DESCRIPTOR + i: fd for i, fd in enumerate(self._sockets)}
        try:
            self._process = self._reactor.spawnProcess(
                _WorkerProtocol(
                    self._make_relay(), self._make_relay(), self._watchdog, self._on_exit
                ),
                sys.executable,
                # The number only identifies the worker in the process list.
                [sys.executable, "-P", "-m", "reverb.workers.child", str(self.number)],
                env=_environment(os.environ),
                childFDs=descriptors,
            )
        except OSError as error:
            # For example, the system has no memory left, or its limit of processes is reached.
            self._schedule_restart(f"worker {self.number} cannot be started: {error}")
            return
        self._pid = self._process.pid
        # Keep the pipe open: a worker stops when its standard input closes.
        self._process.write(self._config)

    def check(self) -> None:
        """Kill the process if it has missed too many heartbeats; call this method each second."""
        if self._process is None or self._stopped is not None:
            return
        if self._watchdog.check_heartbeat():
            self._log.error(
                "worker {number}, process {pid}, has sent no heartbeat for {s} s; killing it",
                number=self.number,
                pid=self._pid,
                s=self._max_missed_heartbeats,
            )
            self._signal("KILL")

    def stop(self) -> "Deferred[None]":
        """Stop the process with SIGTERM, and do not restart it.

        Returns:
            Fires when the process has exited; has already fired if the process is not
            running.
        """
        if self._restart_call is not None:
            self._restart_call.cancel()
            self._restart_call = None
        if self._process is None:
            return succeed(None)
        if self._stopped is None:
            self._stopped = Deferred()
        self._signal("TERM")
        return self._stopped

    def kill(self) -> None:
        """Kill the process if it is still running."""
        if self._process is not None:
            self._log.warn(
                "worker {number}, process {pid}, does not stop; killing it",
                number=self.number,
                pid=self._pid,
            )
            self._signal("KILL")

    def _signal(self, name: str) -> None:
        # The process may have exited, but its last output is not read yet.
        with suppress(ProcessExitedAlready):
            self._process.signalProcess(name)

    def _on_exit(self, status: Any) -> None:
        self._process = None
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        self._schedule_restart(
            f"worker {self.number}, process {self._pid}, {_describe_exit(status)}"
        )

    def _schedule_restart(self, reason: str) -> None:
        delay = self._backoff.next_delay(self._reactor.seconds() - self._started_at)
        self._log.error(
            "{reason}; restarting it in {delay:.1f} s",
            number=self.number,
            reason=reason,
            delay=delay,
        )
        self._restart_call = self._reactor.callLater(delay, self.start)


def _describe_exit(status: Any) -> str:
    """Describe how a process ended, given Twisted's ProcessDone or ProcessTerminated."""
    if status.signal is None:
        return f"exited with code {status.exitCode}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(status.signal, f'signal {status.signal}')}"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the supervisor's environment, with the supervisor's import path as PYTHONPATH."""
    return {**own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class _WorkerProtocol(ProcessProtocol):
    """Passes a process's output to the log relays, and its heartbeats to the watchdog."""

    def __init__(
        self, output: LogRelay, errors: LogRelay, watchdog: Watchdog, on_exit: Callable[[Any], None]
    ) -> None:
        self._output = output
        self._errors = errors
        self._watchdog = watchdog
        self._on_exit = on_exit

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == HEARTBEAT_DESCRIPTOR:
            self._watchdog.record_heartbeat()
        else:
            super().childDataReceived(childFD, data)

    def outReceived(self, data: bytes) -> None:
        self._output.received(data)

    def errReceived(self, data: bytes) -> None:
        self._errors.received(data)

    def processEnded(self, reason: Failure) -> None:
        self._output.finish()
        self._errors.finish()
        self._on_exit(reason.value)
