"""What several folders of tests share."""

import socket
import zlib

from twisted.logger import LogLevel, formatEvent
from twisted.test.iosim import FakeTransport

from reverb.testing import parse_response

GRAVE = (LogLevel.error, LogLevel.critical)


def deflate(payload, *, bits=15, level=6):
    """Deflate a payload as a client does (RFC 7692, 7.2.1)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\0\0\xff\xff")
    return data[:-4]


def call(address, data, until):
    """Send bytes to an address and read until some have come; nothing, when refused."""
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


def ask_for_metrics(server, path="/metrics", method="GET", headers=""):
    """Ask the metrics' own endpoint for something, on a connection of its own."""
    connection = server.service.metrics.factory.buildProtocol(None)
    transport = FakeTransport(connection, isServer=True)
    connection.makeConnection(transport)
    request = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
    connection.dataReceived(request.encode())
    answer = transport.getOutBuffer()
    transport.reportDisconnect()
    return parse_response(answer)


class Log:
    """What has been logged."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def problems(self):
        """Take the events that tell of a failure."""
        grave = [e for e in self.events if "log_failure" in e or e["log_level"] in GRAVE]
        self.events = [e for e in self.events if e not in grave]
        return [(formatEvent(e), e.get("log_failure")) for e in grave]

    def lines(self, beginning):
        return [text for e in self.events if (text := formatEvent(e)).startswith(beginning)]


class _Transport(FakeTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = True
        super().abortConnection()


class Wire:
    """A connection to a server in memory, of which the test sends the bytes itself."""

    def __init__(self, server):
        self.server = server
        door = server.service.factory.buildProtocol(None)
        self.transport = _Transport(door, isServer=True)
        door.makeConnection(self.transport)
        self.received = b""
        self.lost = False

    def send(self, *segments):
        """Send each as a segment of its own; get all that has been received and not taken."""
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
        if not self.lost:
            self.lost = True
            if reason is not None:
                self.transport.disconnectReason = reason
            self.transport.reportDisconnect()
            self.server.settle()

    @property
    def ended(self):
        """Whether the server has ended the connection."""
        return bool(self.transport.disconnecting)

    def take(self):
        """Take what has been received."""
        data, self.received = self.received, b""
        return data

    def responses(self):
        """Take the HTTP responses that have been received."""
        data, responses = self.take(), []
        while data:
            responses.append(parse_response(data))
            _, end, rest = data.partition(b"\r\n\r\n")
            assert end
            data = rest[len(responses[-1].body) :]
        return responses
