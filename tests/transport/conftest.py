"""Fixtures for the tests of the transport: clients on real sockets."""

import select
import socket

import pytest
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.python.failure import Failure

from reverb.testing import parse_frame, upgrade_request

REQUEST_BUFFER = 65_536
"""The bytes of requests that each kernel buffer holds; by default it grows to several megabytes."""

FULL_AFTER = 0.05
"""Seconds after which a socket that accepts nothing is full; a delayed ACK takes up to 0.04 s."""


class RealClient:
    """A client on a real socket. :meth:`turn` stands in for the server's reactor.

    Args:
        server: The server to connect to.
        small: Whether to give both sockets small buffers, the smallest for responses.
    """

    def __init__(self, server, small):
        self.server = server
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.socket = socket.socket()
            if small:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, REQUEST_BUFFER)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BUFFER)
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
        self.buffer = bytearray()

    def turn(self):
        """Let the server read and write until nothing is ready."""
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

    def flood(self, data, max_bytes):
        """Send until the buffers of server and kernel are full; return the number of bytes."""
        self.socket.settimeout(FULL_AFTER)
        sent = 0
        while sent < max_bytes:
            try:
                sent += self.socket.send(data[sent % len(data) :])
            except TimeoutError:
                break
            self.turn()
        self.socket.settimeout(5)
        return sent

    def advance(self, seconds):
        for _ in range(seconds):
            self.server.clock.advance(1)
            self.turn()

    def send(self, data):
        """Send data, and let the server read it."""
        self.socket.sendall(data)
        self.turn()

    def connect(self):
        """Upgrade to a WebSocket; return the server's side of the connection."""
        self.send(upgrade_request(f"/app/{self.server.app.key}?protocol=7"))
        self.read_until(b"activity_timeout")
        self.buffer = bytearray()
        return self.transport.protocol.dataReceived.__self__

    def read_until(self, end):
        self.read_times(end, 1)

    def read_times(self, text, count):
        """Read until a text has been received a number of times."""
        found, counted = 0, 0
        while (found := found + self.buffer.count(text, counted)) < count:
            # A part of the next one may be at the end.
            counted = max(counted, len(self.buffer) - len(text) + 1)
            assert self.read(), "the server has closed the connection"

    def read(self):
        """Read once; return an empty string when the server has closed the connection."""
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
        """Take the complete frames that have been read."""
        data, frames = bytes(self.buffer), []
        while (parsed := parse_frame(data)) is not None:
            *frame, data = parsed
            frames.append(tuple(frame))
        self.buffer = bytearray(data)
        return frames

    def close(self):
        """Close the connection, on the server's side as well."""
        self.socket.close()
        self.turn()
        transport, self.transport = self.transport, None
        if transport is not None and transport.connected:
            transport.connectionLost(Failure(ConnectionError("the test is over")))


@pytest.fixture
def real(make_server):
    """Return a function that connects a client on a real socket to a server."""
    clients = []

    def open_real(server, *, small=False):
        clients.append(RealClient(server, small))
        return clients[-1]

    yield open_real
    for client in clients:
        client.close()
