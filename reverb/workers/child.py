"""A worker: one node, in a process that the parent has started.

It finds its orders on standard input, logs to standard output, gives signs of life at the next
descriptor, and finds the sockets to listen on at those that follow. When standard input ends, the
parent is gone, and so goes the worker.
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
from reverb.workers.heartbeat import start_beating
from reverb.workers.sockets import InheritedSockets
from reverb.workers.worker_config import FIRST_SOCKET, HEARTBEAT, read

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


def main() -> None:
    """Serve until the parent says stop, or is gone."""
    # What Control-C sends to the parent's group is the parent's to pass on.
    os.setpgrp()
    orders = read(_INPUT)
    namedModule(orders.reactor).install()
    from twisted.internet import reactor  # noqa: PLC0415 - it is installed just now

    # The parent decides which events are written.
    observer = LineObserver(sys.stdout, "debug", format_json)
    globalLogBeginner.beginLoggingTo([observer])
    service = NodeProcess(
        orders.settings, reactor=reactor, listener=InheritedSockets(reactor, FIRST_SOCKET)
    )
    service.privilegedStartService()
    service.startService()
    _Lifeline(reactor).startReading()
    start_beating(reactor, HEARTBEAT)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


class _Lifeline(FileDescriptor):
    """Standard input, which the parent keeps open and writes no more to."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._stop = reactor.stop

    def fileno(self) -> int:
        return _INPUT

    def doRead(self) -> ConnectionDone | None:
        return None if os.read(_INPUT, 1) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        # Nobody reads what we log from now on, and to write it would be an error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _OUTPUT)
        os.dup2(nowhere, _ERRORS)
        with suppress(ReactorNotRunning):
            self._stop()


if __name__ == "__main__":
    main()
