"""A fake reactor and its processes, which tests control."""

import sys

from twisted.internet import tcp, unix
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Process:
    """A fake process, from the supervisor's side."""

    def __init__(self, pid, protocol, arguments, more):
        self.pid, self.protocol, self.arguments, self.more = pid, protocol, arguments, more
        self.written = b""
        self.signals = []
        self.has_exited = False

    def write(self, data):
        self.written += data

    def signalProcess(self, name):
        if self.has_exited:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, code=None, signal=None):
        done = ProcessDone(0) if code == 0 else ProcessTerminated(code, signal)
        self.protocol.processEnded(Failure(done))


class Reactor(Clock):
    """A clock with fake processes and with real ports that never accept a connection."""

    def __init__(self):
        super().__init__()
        self.processes = []
        self.reading = set()

    def listenTCP(self, *arguments, **more):
        return self._listening(tcp.Port(*arguments, reactor=self, **more))

    def listenUNIX(self, *arguments, **more):
        return self._listening(unix.Port(*arguments, reactor=self, **more))

    def adoptStreamPort(self, descriptor, family, factory):
        return self._listening(tcp.Port._fromListeningDescriptor(self, descriptor, family, factory))

    def _listening(self, port):
        port.startListening()
        return port

    def addReader(self, reader):
        self.reading.add(reader)

    def removeReader(self, reader):
        self.reading.discard(reader)

    def removeWriter(self, writer):
        pass

    def spawnProcess(self, protocol, program, arguments, **more):
        assert program == sys.executable
        process = Process(100 + len(self.processes), protocol, arguments, more)
        self.processes.append(process)
        return process
