"""TLS endpoints, and clients that do not speak TLS."""

import pytest
from OpenSSL.SSL import WantReadError
from twisted.internet.address import IPv4Address
from twisted.test.iosim import FakeTransport

from bench.certificate import make_certificate
from reverb.listening.certificates import ReloadingCertificates
from reverb.listening.tls_endpoint import TlsFactory
from reverb.testing import parse_response
from tests.support.tls_handshake import handshake

PEER = IPv4Address("TCP", "192.0.2.1", 4711)
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Inner:
    """The wrapped protocol, and its factory."""

    def __init__(self):
        self.received = b""
        self.lost = False

    def buildProtocol(self, _):
        return self

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = True


class Gate:
    """Keeps the refusals."""

    def __init__(self):
        self.refusals = []

    def record_refusal(self, reason, peer):
        self.refusals.append((reason, peer.host))


class Client:
    """A client that connects to the endpoint."""

    def __init__(self, certificates, gate):
        self.inner = Inner()
        self.protocol = TlsFactory(certificates, self.inner, gate).buildProtocol(PEER)
        self.transport = FakeTransport(self.protocol, isServer=True, peerAddress=PEER)
        self.transport.loseWriteConnection = self.transport.loseConnection
        self.protocol.makeConnection(self.transport)


@pytest.fixture
def certificates(tmp_path):
    (tmp_path / "server.pem").write_bytes(make_certificate())
    return ReloadingCertificates(f"tls:{tmp_path}")


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def client(certificates, gate):
    return Client(certificates, gate)


@pytest.mark.parametrize("segments", [[REQUEST], [REQUEST[:1], REQUEST[1:]], [b"POST", b"x" * 99]])
def test_plain_http_gets_400_with_what_to_change(client, gate, segments):
    for segment in segments:
        client.protocol.dataReceived(segment)
    response = parse_response(client.transport.getOutBuffer())
    assert response.status == 400
    assert response.headers["connection"] == "close"
    assert "use https:// or wss://" in response.json()["error"]
    assert client.transport.disconnecting
    assert gate.refusals == [("plain_on_tls_port", "192.0.2.1")]
    assert client.inner.received == b""
    client.transport.reportDisconnect()
    assert client.inner.lost


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.9 203.0.113.1 5678 443\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00"]
)
def test_the_proxy_protocol_is_refused(client, gate, header):
    client.protocol.dataReceived(header)
    assert not client.transport.getOutBuffer()
    assert client.transport.disconnecting
    assert gate.refusals == [("unexpected_proxy_header", "192.0.2.1")]


@pytest.mark.parametrize("data", [b"\x00" * 20, b"\x16garbage" * 9])
def test_other_bytes_are_left_to_tls(client, gate, data):
    client.protocol.dataReceived(data)
    assert client.transport.disconnecting
    assert gate.refusals == []


def test_without_a_gate_nothing_is_counted(certificates):
    client = Client(certificates, None)
    client.protocol.dataReceived(REQUEST)
    assert parse_response(client.transport.getOutBuffer()).status == 400


@pytest.mark.parametrize("size", [1, 100_000])
def test_tls_is_served_in_any_segments(client, gate, certificates, size):
    class Server:
        """The server's side of a handshake: the protocol under test."""

        def set_accept_state(self):
            pass

        def do_handshake(self):
            pass

        def bio_write(self, data):
            for start in range(0, len(data), size):
                client.protocol.dataReceived(data[start : start + size])

        def bio_read(self, _):
            if data := client.transport.getOutBuffer():
                return data
            raise WantReadError

        def serverConnectionForTLS(self, _):
            return self

    connection = handshake(Server())
    connection.send(b"secret")
    client.protocol.dataReceived(connection.bio_read(65_536))
    assert client.inner.received == b"secret"
    assert gate.refusals == []
