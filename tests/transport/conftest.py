"""What the tests of the transport share: servers, raw connections, real sockets, the log."""

import select
import socket

import pytest
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.python.failure import Failure

from reverb.testing import MemoryServer, parse_frame, upgrade_request


@pytest.fixture
def make_server(servers):
    """Start servers in memory."""

    def make(*apps, **settings):
        servers.append(MemoryServer(*apps, **settings))
        return servers[-1]

    return make


class Real:
    """A client on a real socket; the server's side has no reactor but :meth:`turn`."""

    def __init__(self, server, small):
        self.server = server
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.socket = socket.socket()
            if small:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.socket.connect(listener.getsockname())
            accepted, address = listener.accept()
        if small:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        accepted.setblocking(False)
        self.socket.settimeout(5)
        protocol = server.service.factory.buildProtocol(IPv4Address("TCP", *address))
        self.transport = tcp.Server(accepted, protocol, address, None, 1, server.clock)
        protocol.makeConnection(self.transport)
        self.buffer = b""

    def turn(self):
        """Let the server read and write what it can now."""
        clock = self.server.clock
        for _ in range(1000):
            clock.advance(0)
            readers, writers = clock.getReaders(), clock.getWriters()
            ready = select.select(readers, writers, [], 0)[:2]
            if not any(ready):
                return
            for selectable, step in [(r, "doRead") for r in ready[0]] + [
                (w, "doWrite") for w in ready[1]
            ]:
                if selectable not in (readers if step == "doRead" else writers):
                    continue
                why = getattr(selectable, step)() if selectable.fileno() >= 0 else None
                if why is not None:
                    _DisconnectSelectableMixin._disconnectSelectable(
                        clock, selectable, why, step == "doRead"
                    )

    def advance(self, seconds):
        for _ in range(seconds):
            self.server.clock.advance(1)
            self.turn()

    def send(self, data):
        """Send as much as fits, and let the server read it."""
        self.socket.sendall(data)
        self.turn()

    def connect(self):
        """Become a WebSocket; get the server's half of the connection."""
        self.send(upgrade_request(f"/app/{self.server.app.key}?protocol=7"))
        self.read_until(b"activity_timeout")
        self.buffer = b""
        return self.transport.protocol.dataReceived.__self__

    def read_until(self, end):
        while end not in self.buffer:
            self.read()

    def read(self):
        """Read some; nothing when the server has ended the connection."""
        self.turn()
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        self.turn()
        self.buffer += data
        return data

    def read_all(self):
        while self.read():
            pass
        return self.buffer

    def frames(self):
        """Take the frames that have been read."""
        frames = []
        while (parsed := parse_frame(self.buffer)) is not None:
            *frame, self.buffer = parsed
            frames.append(tuple(frame))
        return frames

    def close(self):
        """End, and let go of the server's side."""
        self.socket.close()
        self.turn()
        transport, self.transport = self.transport, None
        if transport is not None and transport.connected:
            transport.connectionLost(Failure(ConnectionError("the test is over")))


@pytest.fixture
def real(make_server):
    """Open real connections to a server."""
    clients = []

    def open_real(server, *, small=False):
        clients.append(Real(server, small))
        return clients[-1]

    yield open_real
    for client in clients:
        client.close()
