"""Helpers that several folders of tests share."""

import socket
import zlib

from twisted.logger import LogLevel, formatEvent
from twisted.test.iosim import FakeTransport

from reverb.testing import parse_response

_SEVERE = (LogLevel.error, LogLevel.critical)


def deflate(payload, *, bits=15, level=6):
    """Deflate a payload as a client does (RFC 7692, 7.2.1)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\0\0\xff\xff")
    return data[:-4]


def exchange(address, data, until):
    """Connect to an address, send data, and read until the end or until a text has arrived.

    Args:
        address: The path of a Unix socket, or a host and a port.
        data: The bytes to send.
        until: The bytes after which reading stops.

    Returns:
        The received bytes.
    """
    family, where = (
        (socket.AF_UNIX, address) if isinstance(address, str) else (socket.AF_INET, address)
    )
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(where)
        client.sendall(data)
        received = b""
        while until not in received and (part := client.recv(65_536)):
            received += part
        return received


def fetch_metrics(server, path="/metrics", method="GET", headers=""):
    """Send a request to the metrics endpoint, on a new connection, and return the response."""
    connection = server.service.metrics.factory.buildProtocol(None)
    transport = FakeTransport(connection, isServer=True)
    connection.makeConnection(transport)
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
    connection.dataReceived(request.encode())
    answer = transport.getOutBuffer()
    transport.reportDisconnect()
    return parse_response(answer)


class Log:
    """A log observer that keeps all events."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def problems(self):
        """Take the failures and errors; return the text and the failure of each."""
        severe = [e for e in self.events if "log_failure" in e or e["log_level"] in _SEVERE]
        self.events = [e for e in self.events if e not in severe]
        return [(formatEvent(e), e.get("log_failure")) for e in severe]

    def lines(self, prefix):
        """Return the logged lines that begin with a prefix."""
        return [text for e in self.events if (text := formatEvent(e)).startswith(prefix)]


class _Transport(FakeTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True
        super().abortConnection()


class Wire:
    """A raw connection to a server in memory, on which the test sends the bytes itself."""

    def __init__(self, server):
        self.server = server
        protocol = server.service.factory.buildProtocol(None)
        self.transport = _Transport(protocol, isServer=True)
        protocol.makeConnection(self.transport)
        self.received = b""
        self.lost = False

    def send(self, *segments):
        """Send each segment separately; return all received bytes that were not taken yet."""
        for segment in segments:
            self.transport.protocol.dataReceived(segment)
            self.settle()
        return self.received

    def settle(self):
        self.server.settle()
        self.received += self.transport.getOutBuffer() or b""

    def advance(self, seconds):
        self.server.advance(seconds)
        self.settle()

    def vanish(self, reason=None):
        """Lose the connection without a close."""
        if not self.lost:
            self.lost = True
            if reason is not None:
                self.transport.disconnectReason = reason
            self.transport.reportDisconnect()
            self.server.settle()

    @property
    def ended(self):
        """Whether the server has closed the connection."""
        return bool(self.transport.disconnecting)

    def take(self):
        """Return the received bytes, and forget them."""
        data, self.received = self.received, b""
        return data

    def responses(self):
        """Take the received bytes, and parse them as HTTP responses."""
        data, responses = self.take(), []
        while data:
            responses.append(parse_response(data))
            _, end, rest = data.partition(b"\r\n\r\n")
            assert end
            data = rest[len(responses[-1].body) :]
        return responses
