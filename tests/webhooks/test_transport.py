"""The HTTP transport, over real sockets."""

import pytest
import pytest_twisted
from twisted.internet import reactor, ssl
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from bench.certificate import make_certificate
from reverb.webhooks import transport as transport_module
from reverb.webhooks.interfaces import WebhookTransportError
from reverb.webhooks.transport import HttpTransport
from tests.webhooks.test_public_addresses import StubResolver


class Hook(Resource):
    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests, self.status, self.body, self.headers = [], 200, b"ok", {}

    def render_POST(self, request):
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        peer = request.getClientAddress().port
        self.requests.append((request.content.read(), request.requestHeaders, peer))
        return self.body if self.body is not None else NOT_DONE_YET


class RawServer(Protocol):
    """Answers a request with raw bytes, and optionally with an endless body."""

    def dataReceived(self, data):
        self.transport.write(self.factory.head)
        self.factory.lost = False
        self.stream()

    def stream(self):
        if self.factory.endless and self.transport.connected:
            self.transport.write(b"x" * 10_000)
            reactor.callLater(0.001, self.stream)

    def connectionLost(self, reason):
        self.factory.lost = True


@pytest.fixture
def closers():
    """Functions that close the resources of a test, called in reverse order."""
    closers = []
    yield closers
    for close in reversed(closers):
        pytest_twisted.blockon(close())
    pytest_twisted.blockon(deferLater(reactor, 0.01))


@pytest.fixture
def make_transport(closers):
    def make(**options):
        transport = HttpTransport(reactor, **({"allow_private": True} | options))
        closers.append(transport.stop)
        return transport

    return make


@pytest.fixture
def listen(closers):
    def listen_with(factory, context=None):
        if context is None:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        closers.append(port.stopListening)
        return port.getHost().port

    return listen_with


@pytest.fixture
def hook():
    return Hook()


@pytest.fixture
def url(hook, listen):
    return f"http://127.0.0.1:{listen(Site(hook))}/hook?a=1"


@pytest.fixture
def serve_raw(listen):
    def serve(head, *, endless):
        factory = Factory.forProtocol(RawServer)
        factory.head, factory.endless, factory.lost = head, endless, True
        return factory, f"http://127.0.0.1:{listen(factory)}/"

    return serve


class TestPost:
    @pytest_twisted.ensureDeferred
    async def test_it_adds_only_the_headers_of_http(self, make_transport, hook, url):
        headers = {"Content-Type": "application/json", "X-Pusher-Key": "k"}
        assert await make_transport().post(url, headers, b'{"a":1}') == 200

        body, sent, _ = hook.requests[0]
        assert body == b'{"a":1}'
        names = {name.decode().lower() for name, _ in sent.getAllRawHeaders()}
        assert names - {"content-type", "x-pusher-key"} == {
            "content-length",
            "accept-encoding",
            "host",
        }
        assert sent.getRawHeaders("content-type") == ["application/json"]

    @pytest_twisted.ensureDeferred
    async def test_the_connection_is_reused(self, make_transport, hook, url):
        transport = make_transport()
        for _ in range(3):
            await transport.post(url, {}, b"{}")
            await deferLater(reactor, 0.01)

        assert len({peer for _, _, peer in hook.requests}) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_redirect_is_not_followed(self, make_transport, hook, url):
        hook.status, hook.headers = 307, {"Location": url}

        assert await make_transport().post(url, {}, b"{}") == 307
        assert len(hook.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_cookies_are_not_sent_back(self, make_transport, hook, url):
        hook.headers = {"Set-Cookie": "a=b"}
        transport = make_transport()
        await transport.post(url, {}, b"{}")
        await transport.post(url, {}, b"{}")

        assert hook.requests[1][1].getRawHeaders("cookie") is None

    @pytest_twisted.ensureDeferred
    async def test_it_times_out_without_a_response(self, make_transport, hook, url, monkeypatch):
        monkeypatch.setattr(transport_module, "TIMEOUT", 0.1)
        hook.body = None

        with pytest.raises(WebhookTransportError, match=r"no response within 0\.1 s"):
            await make_transport().post(url, {}, b"{}")

    @pytest_twisted.ensureDeferred
    async def test_a_refused_connection(self, make_transport):
        with pytest.raises(WebhookTransportError, match="Connection was refused"):
            await make_transport().post("http://127.0.0.1:1/", {}, b"{}")

    @pytest_twisted.ensureDeferred
    async def test_a_server_of_another_protocol(self, make_transport, serve_raw):
        _, url = serve_raw(b"220 mail.example.com ESMTP\r\n", endless=False)
        with pytest.raises(WebhookTransportError):
            await make_transport().post(url, {}, b"{}")

    @pytest_twisted.ensureDeferred
    async def test_an_endless_body_is_not_read(self, make_transport, serve_raw):
        factory, url = serve_raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", endless=True
        )

        assert await make_transport().post(url, {}, b"{}") == 200
        while not factory.lost:
            await deferLater(reactor, 0.01)

    @pytest_twisted.ensureDeferred
    async def test_it_does_not_wait_for_a_missing_body(
        self, make_transport, serve_raw, monkeypatch
    ):
        monkeypatch.setattr(transport_module, "TIMEOUT", 0.1)
        factory, url = serve_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", endless=False)

        assert await make_transport().post(url, {}, b"{}") == 200
        while not factory.lost:
            await deferLater(reactor, 0.01)

    @pytest_twisted.ensureDeferred
    async def test_a_stop_closes_a_connection_without_a_complete_body(
        self, make_transport, serve_raw
    ):
        factory, url = serve_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", endless=False)
        transport = make_transport()
        await transport.post(url, {}, b"{}")
        await transport.stop()
        await deferLater(reactor, 0.1)

        assert factory.lost


class TestPrivateAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    @pytest_twisted.ensureDeferred
    async def test_they_are_refused(self, make_transport, hook, url, host):
        transport = make_transport(allow_private=False)
        with pytest.raises(
            WebhookTransportError, match=r"is not public, and webhooks\.allow_private"
        ):
            await transport.post(url.replace("127.0.0.1", host), {}, b"{}")
        assert hook.requests == []


@pytest.fixture
def ipv6(hook, closers):
    """An endpoint on the IPv6 loopback address; skips the test if there is none."""
    try:
        port = reactor.listenTCP(0, Site(hook), interface="::1")
    except CannotListenError:
        pytest.skip("no IPv6 on this machine")
    closers.append(port.stopListening)
    return f"[::1]:{port.getHost().port}"


class TestIpv6:
    @pytest_twisted.ensureDeferred
    async def test_an_ipv6_address_in_the_url(self, make_transport, hook, ipv6):
        assert await make_transport().post(f"http://{ipv6}/hook?a=%20[1]", {}, b"{}") == 200
        ((_, headers, _),) = hook.requests
        assert headers.getRawHeaders("Host") == [ipv6]

    @pytest_twisted.ensureDeferred
    @pytest.mark.parametrize("host", ["[::1]", "[::ffff:127.0.0.1]"])
    async def test_a_private_ipv6_address_is_refused(self, make_transport, host):
        transport = make_transport(allow_private=False)
        with pytest.raises(WebhookTransportError, match="is not public"):
            await transport.post(f"http://{host}:1/", {}, b"{}")


class TestCertificates:
    @pytest.fixture
    def pem(self):
        return make_certificate()

    @pytest.fixture
    def secure(self, hook, listen, pem, tmp_path):
        path = tmp_path / "server.pem"
        path.write_bytes(pem)
        context = ssl.DefaultOpenSSLContextFactory(str(path), str(path))
        return f"https://127.0.0.1:{listen(Site(hook), context)}/"

    @pytest_twisted.ensureDeferred
    async def test_a_certificate_of_a_trusted_authority(self, make_transport, hook, secure, pem):
        policy = BrowserLikePolicyForHTTPS(trustRoot=ssl.Certificate.loadPEM(pem))
        assert await make_transport(policy=policy).post(secure, {}, b"{}") == 200

    @pytest_twisted.ensureDeferred
    async def test_a_certificate_of_an_unknown_authority(self, make_transport, hook, secure):
        with pytest.raises(WebhookTransportError, match="TLS: certificate verify failed"):
            await make_transport().post(secure, {}, b"{}")
        assert hook.requests == []

    @pytest_twisted.ensureDeferred
    async def test_a_certificate_of_another_host(self, make_transport, hook, secure, pem, closers):
        resolver = reactor.installNameResolver(StubResolver("127.0.0.1"))
        closers.append(lambda: maybeDeferred(reactor.installNameResolver, resolver))
        policy = BrowserLikePolicyForHTTPS(trustRoot=ssl.Certificate.loadPEM(pem))
        url = secure.replace("127.0.0.1", "example.com")
        with pytest.raises(WebhookTransportError, match="TLS: the certificate is for another host"):
            await make_transport(policy=policy).post(url, {}, b"{}")
        assert hook.requests == []
