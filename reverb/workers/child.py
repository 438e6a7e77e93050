"""The entry point of a worker: one node, in a process that the supervisor has started.

The worker reads its configuration from standard input and logs to standard output. The
worker writes heartbeats to ``HEARTBEAT_DESCRIPTOR``. The worker's listening sockets are the
file descriptors from ``FIRST_SOCKET_DESCRIPTOR`` on. Standard input closes only when the supervisor
has died; the worker then stops too.
"""

import os
import sys
from contextlib import suppress
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ReactorNotRunning
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedModule

from reverb.logs import LineObserver, format_json
from reverb.process import NodeProcess
from reverb.runtime import Runtime
from reverb.workers.heartbeat import start_heartbeat
from reverb.workers.sockets import InheritedSockets
from reverb.workers.worker_config import FIRST_SOCKET_DESCRIPTOR, HEARTBEAT_DESCRIPTOR, read_config

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


def main() -> None:
    """Serve clients until the supervisor sends SIGTERM or dies."""
    # Leave the supervisor's process group, so that Control-C signals only the supervisor, which
    # then stops its workers.
    os.setpgrp()
    config = read_config(_INPUT)
    namedModule(config.reactor).install()
    from twisted.internet import reactor  # noqa: PLC0415 - it was installed just now

    # Log events of all levels: the supervisor filters them by level.
    observer = LineObserver(sys.stdout, "debug", format_json)
    globalLogBeginner.beginLoggingTo([observer])
    sockets = InheritedSockets(reactor, FIRST_SOCKET_DESCRIPTOR)
    runtime = Runtime(reactor=reactor, listening_reactor=sockets)
    service = NodeProcess(config.settings, runtime=runtime)
    service.privilegedStartService()
    service.startService()
    _SupervisorWatch(reactor).startReading()
    start_heartbeat(reactor, HEARTBEAT_DESCRIPTOR)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


class _SupervisorWatch(FileDescriptor):
    """Stops the reactor when standard input closes, which shows that the supervisor has died."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._stop = reactor.stop

    def fileno(self) -> int:
        return _INPUT

    def doRead(self) -> ConnectionDone | None:
        return None if os.read(_INPUT, 1) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        # Nobody reads the log any more, so writing to the supervisor's pipes would fail.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _OUTPUT)
        os.dup2(null, _ERRORS)
        with suppress(ReactorNotRunning):
            self._stop()


if __name__ == "__main__":
    main()
