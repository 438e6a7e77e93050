"""The limits on what an endpoint may answer."""

import gzip

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.webhooks import transport as transport_module
from reverb.webhooks.interfaces import WebhookTransportError
from reverb.webhooks.response_limits import (
    CLOSE_TIMEOUT,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEAD_LINES,
    LimitedEndpoint,
)
from reverb.webhooks.transport import HttpTransport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
PATIENCE = 1_000
"""Portions that an endpoint sends at most; each has 16 KB."""


class Recorder(Protocol):
    """The protocol behind the limits: it records what arrives."""

    def __init__(self):
        self.received, self.calls, self.reason = b"", 0, None

    def dataReceived(self, data):
        self.received += data
        self.calls += 1

    def connectionLost(self, reason):
        self.reason = reason


class AbortingTransport(StringTransport):
    """A transport that reports an abort at once."""

    protocol = None

    def abortConnection(self):
        super().abortConnection()
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(ConnectionAborted()))


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Connects to nothing: a test plays the server."""

    def __init__(self):
        self.transport = AbortingTransport()

    def connect(self, factory):
        self.protocol = factory.buildProtocol(None)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    return MemoryEndpoint()


@pytest.fixture
def client(server, clock):
    recorder = Recorder()
    found = []
    factory = Factory.forProtocol(lambda: recorder)
    LimitedEndpoint(server, clock, set()).connect(factory).addCallback(found.append)
    assert found == [recorder]
    recorder.transport.write(b"POST / HTTP/1.1\r\n\r\n")
    return recorder


def send(server, data, size=16_384):
    for start in range(0, len(data), size):
        server.protocol.dataReceived(data[start : start + size])


class TestHead:
    @pytest.mark.parametrize("size", [1, 7, 16_384])
    def test_a_response_arrives_unchanged(self, server, client, size):
        send(server, HEAD + b"hello", size)
        assert client.received == HEAD + b"hello"
        assert not server.transport.disconnecting

    def test_lines_may_end_without_cr(self, server, client):
        send(server, b"HTTP/1.1 200\nA: b\n\nhello")
        assert client.received == b"HTTP/1.1 200\nA: b\n\nhello"

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\n" + b"A: %b\r\n" % (b"x" * 1000) * 64,
            b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES,
            b"HTTP/1.1 200 " + b"x" * MAX_HEAD_BYTES,
            b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * MAX_HEAD_BYTES,
            b"HTTP/1.1 103 Early Hints\r\nA: %b\r\n\r\n" % (b"x" * 1000) * 64,
        ],
        ids=["lines", "a line", "the status line", "folded lines", "interim responses"],
    )
    @pytest.mark.parametrize("size", [1_000, 16_384, 100_000])
    def test_a_head_without_end(self, server, client, head, size):
        send(server, head, size)
        assert str(client.reason.value).startswith("the head of the response is over ")
        assert client.received == b""
        assert server.transport.disconnected

    @pytest.mark.parametrize(
        "head", [b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 101, b"HTTP/1.1 100\r\n\r\n" * 51 + HEAD]
    )
    def test_a_head_of_many_short_lines(self, server, client, head):
        send(server, head)
        assert (
            str(client.reason.value) == f"the head of the response is over {MAX_HEAD_LINES} lines"
        )
        assert client.received == b""

    def test_interim_responses_are_dropped(self, server, client):
        send(server, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: x\r\n\r\n" + HEAD, 5)
        assert client.received == HEAD

    @pytest.mark.parametrize(
        "answer",
        [
            b"220 mail.example.com ESMTP\r\n",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 0200 OK\r\n",
            b"\0" * 100,
            b"\r\n\r\n",
            b"HTTP/1.1 +10 \r\n",
        ],
    )
    def test_another_protocol(self, server, client, answer):
        send(server, answer)
        assert str(client.reason.value) == "the response is not HTTP/1"
        assert client.received == b""

    def test_the_end_is_searched_for_once(self, server, client):
        """Each byte is looked at a limited number of times, in however many pieces it arrives."""
        send(server, HEAD, 1)
        assert client.calls == 1


class TestBody:
    def test_a_body_without_end(self, server, client):
        send(server, HEAD)
        send(server, b"x" * (MAX_BODY_BYTES * 2))
        assert (
            str(client.reason.value) == f"the body of the response is over {MAX_BODY_BYTES} bytes"
        )
        assert len(client.received) <= len(HEAD) + MAX_BODY_BYTES

    def test_what_follows_is_ignored(self, server, client):
        server.transport.protocol = None  # The loss is reported later.
        send(server, HEAD + b"x" * 1_000_000)
        assert server.transport.disconnected
        assert len(client.received) <= len(HEAD) + MAX_BODY_BYTES

    def test_each_response_has_its_own_limit(self, server, client):
        for _ in range(5):
            client.transport.write(b"POST / HTTP/1.1\r\n\r\n")
            send(server, HEAD + b"x" * (MAX_BODY_BYTES - 10))
        client.transport.writeSequence([b"POST / HTTP/1.1\r\n", b"\r\n"])
        send(server, HEAD)
        assert client.reason is None


class TestClosing:
    def test_a_connection_that_stays_open_is_aborted(self, server, client, clock):
        client.transport.loseConnection()
        client.transport.loseConnection()
        assert not server.transport.disconnected
        clock.advance(CLOSE_TIMEOUT)
        assert server.transport.disconnected
        assert client.reason.check(ConnectionAborted)

    def test_nothing_arrives_meanwhile(self, server, client):
        client.transport.loseConnection()
        send(server, HEAD)
        assert client.received == b""

    def test_a_loss_cancels_the_abort(self, server, client, clock):
        client.transport.loseConnection()
        server.protocol.connectionLost(Failure(ConnectionAborted()))
        assert clock.getDelayedCalls() == []


class Answer(Protocol):
    """Answers the first bytes of a request with a beginning, and then with portions."""

    def dataReceived(self, data):
        if not self.factory.answered:
            self.factory.answered = True
            self.transport.write(self.factory.beginning)
            self.transport.registerProducer(self, True)
            self.send()

    def send(self):
        if self.factory.portion and self.factory.sent < PATIENCE and self.connected:
            self.factory.sent += 1
            self.transport.write(self.factory.portion)
            reactor.callLater(self.factory.pause, self.send)

    def resumeProducing(self):
        pass

    pauseProducing = stopProducing = resumeProducing

    def connectionLost(self, reason):
        self.connected = False
        self.factory.ended.callback(None)


class TestTransport:
    """The same through the whole transport, with real sockets."""

    @pytest.fixture
    def serve(self):
        ports = []

        def serve(beginning, portion=b"", pause=0):
            factory = Factory.forProtocol(Answer)
            factory.beginning, factory.portion, factory.pause = beginning, portion, pause
            factory.sent, factory.answered, factory.ended = 0, False, Deferred()
            ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
            return factory, f"http://127.0.0.1:{ports[-1].getHost().port}/"

        yield serve
        for port in ports:
            pytest_twisted.blockon(port.stopListening())

    @pytest.fixture
    def transport(self):
        transport = HttpTransport(reactor, allow_private=True)
        yield transport
        pytest_twisted.blockon(transport.stop())
        pytest_twisted.blockon(deferLater(reactor, 0.01))

    @pytest.mark.parametrize(
        ("beginning", "portion", "problem"),
        [
            (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 16_000 + b"\r\n", "over 16384 bytes"),
            (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500, "over 100 lines"),
            (b"", b"x" * 16_000, "not HTTP/1"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_the_error_names_the_limit(self, transport, serve, beginning, portion, problem):
        factory, url = serve(beginning, portion)
        with pytest.raises(WebhookTransportError, match=f"^the .*response .*{problem}$"):
            await transport.post(url, {}, b"{}")
        await factory.ended
        assert factory.sent < PATIENCE

    @pytest.mark.parametrize(
        "head",
        [
            b"no colon\r\n",
            b" folded\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Content-Length: x\r\n",
            b"Content-Length: 1\r\nContent-Length: 2\r\n",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_malformed_head(self, transport, serve, head):
        factory, url = serve(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        with pytest.raises(WebhookTransportError, match=r"^the head of the response is malformed$"):
            await transport.post(url, {}, b"{}")
        await factory.ended

    @pytest.mark.parametrize(
        ("beginning", "portion"),
        [
            (b"Content-Length: 99999999\r\n\r\n", b"x" * 16_000),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (16_000, b"x" * 16_000)),
            (b"Transfer-Encoding: chunked\r\n\r\n1", b";a=" + b"x" * 16_000),
            (b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: " + b"y" * 16_000 + b"\r\n"),
            (b"\r\n", b"x" * 16_000),
        ],
        ids=["length", "chunks", "chunk extension", "trailers", "until the end"],
    )
    @pytest_twisted.ensureDeferred
    async def test_the_status_counts_and_the_rest_is_limited(
        self, transport, serve, beginning, portion
    ):
        factory, url = serve(b"HTTP/1.1 200 OK\r\n" + beginning, portion)
        assert await transport.post(url, {}, b"{}") == 200
        await factory.ended
        assert factory.sent < PATIENCE

    @pytest_twisted.ensureDeferred
    async def test_a_compressed_body_is_not_decompressed(self, transport, serve, monkeypatch):
        body = gzip.compress(b"\0" * 20_000_000)
        head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        received = []
        monkeypatch.setattr(
            transport_module._BodyDrain, "dataReceived", lambda _, data: received.append(len(data))
        )
        factory, url = serve(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + body)
        assert await transport.post(url, {}, b"{}") == 200
        await factory.ended
        assert sum(received) <= len(body)

    @pytest.mark.parametrize(
        ("beginning", "portion"),
        [
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_head_that_drips(self, transport, serve, monkeypatch, beginning, portion):
        monkeypatch.setattr(transport_module, "TIMEOUT", 0.2)
        factory, url = serve(beginning, portion, pause=0.01)
        with pytest.raises(WebhookTransportError, match=r"^no response within 0\.2 s$"):
            await transport.post(url, {}, b"{}")
        await factory.ended

    @pytest_twisted.ensureDeferred
    async def test_a_body_that_drips(self, transport, serve, monkeypatch):
        monkeypatch.setattr(transport_module, "TIMEOUT", 0.2)
        factory, url = serve(b"HTTP/1.1 200 OK\r\n\r\n", b"x", pause=0.01)
        assert await transport.post(url, {}, b"{}") == 200
        await factory.ended
        assert factory.sent < PATIENCE

    @pytest_twisted.ensureDeferred
    async def test_a_large_request_that_is_answered_early(self, transport, serve):
        _, url = serve(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        assert await transport.post(url, {}, b"x" * 1_000_000) == 413
