"""Raw connections to servers in memory."""

import pytest
from twisted.test.iosim import FakeTransport

from reverb.testing import parse_response


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


@pytest.fixture
def wire(server):
    """Return a function that opens a raw connection to the server, or to a given server."""
    wires = []

    def open_wire(to=None):
        wires.append(Wire(to or server))
        return wires[-1]

    yield open_wire
    for wire in wires:
        wire.vanish()
