"""Endpoints for proxies that speak the PROXY protocol."""

import struct

import pytest
from twisted.internet.address import IPv4Address
from twisted.test.iosim import FakeTransport

from reverb.listening.proxy_protocol import ProxyProtocolFactory

V1 = b"PROXY TCP4 192.0.2.1 203.0.113.1 5678 443\r\n"
V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2 = V2_SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 1, 203, 0, 113, 1])
V2 += struct.pack("!2H", 5678, 443)
PROXY = IPv4Address("TCP", "10.0.0.1", 4711)


class Inner:
    """The wrapped protocol, and its factory."""

    def __init__(self):
        self.received = b""
        self.fails = None

    def buildProtocol(self, _):
        return self

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.received += data
        if self.fails is not None:
            raise self.fails

    def connectionLost(self, reason):
        pass


class Gate:
    """Keeps the refusals."""

    def __init__(self):
        self.refusals = []

    def record_refusal(self, reason, peer):
        self.refusals.append((reason, peer.host))


class Proxy:
    """A proxy that connects to the endpoint."""

    def __init__(self, gate):
        self.inner = Inner()
        self.protocol = ProxyProtocolFactory(self.inner, gate).buildProtocol(PROXY)
        self.transport = FakeTransport(self.protocol, isServer=True, peerAddress=PROXY)
        self.protocol.makeConnection(self.transport)

    def send(self, *segments):
        for segment in segments:
            self.protocol.dataReceived(segment)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def proxy(gate):
    return Proxy(gate)


def single_bytes(data):
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("split", [single_bytes, lambda data: [data]])
def test_the_header_names_the_client_and_the_rest_is_passed_on(proxy, gate, header, split):
    proxy.send(*split(header + b"GET / "), b"HTTP/1.1")
    assert proxy.inner.received == b"GET / HTTP/1.1"
    assert proxy.inner.transport.getPeer() == IPv4Address("TCP", "192.0.2.1", 5678)
    assert gate.refusals == []


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ::1 ::1 1 2\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        V2_SIGNATURE + b"\x20\x00\x00\x00",
        V2_SIGNATURE + b"\x21\x00\x00\x00",
        V2_SIGNATURE + b"\x20\x11\x00\x0f" + bytes(12) + b"\x04\x00\x00",  # LOCAL, with a TLV.
    ],
)
@pytest.mark.parametrize("split", [single_bytes, lambda data: [data]])
def test_a_header_may_name_no_client(proxy, header, split):
    proxy.send(*split(header + b"x"))
    assert proxy.inner.received == b"x"
    assert proxy.inner.transport.getPeer() == PROXY


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"G",
        b"\x16\x03\x01",
        b"PROXY TCP4\r\n" + b" " * 8,
        b"PROXY TCP4 192.0.2.1 203.0.113.1 port 443\r\n",
        b"PROXY TCP4 \xff 203.0.113.1 1 443\r\n",
        b"PROXY UDP4 192.0.2.1 203.0.113.1 1 443\r\n",
        b"PROXY " + b"x" * 200,
        V2_SIGNATURE + b"\x3f\x11\x00\x0c" + bytes(12),
        V2_SIGNATURE + b"\x21\x11\x00\x02" + bytes(2),
        V2_SIGNATURE + b"\x21\xff\x00\x0c" + bytes(12),
    ],
)
def test_a_malformed_header_closes_the_connection_and_is_counted_once(proxy, gate, data):
    proxy.send(data)
    assert proxy.transport.disconnecting
    assert gate.refusals == [("proxy_header", "10.0.0.1")]
    assert proxy.inner.received == b""


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x")])
def test_an_error_of_the_wrapped_protocol_is_not_one_of_the_header(proxy, gate, error):
    proxy.inner.fails = error
    with pytest.raises(type(error)):
        proxy.send(V1 + b"x")
    assert gate.refusals == []


def test_without_a_gate_nothing_is_counted():
    proxy = Proxy(None)
    proxy.send(b"GET / HTTP/1.1\r\n")
    assert proxy.transport.disconnecting
