"""The HTTP API in a tree of twisted.web."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from reverb.http import Response
from reverb.testing import parse_response, signed_query
from reverb.transport.http_resource import HttpResource

BODY = b'{"name":"event","channel":"news","data":"x"}'


class Page(Resource):
    isLeaf = True

    def render_GET(self, request):
        return b"another page"


class Mounted:
    """A connection to a twisted.web site with a handler at ``/realtime``, or at the root."""

    def __init__(self, handle, *, leaf=False):
        root = HttpResource(handle) if leaf else Resource()
        root.putChild(b"other", Page())
        root.putChild(b"realtime", HttpResource(handle))
        self.protocol = Site(root).buildProtocol(None)
        self.transport = FakeTransport(self.protocol, isServer=True)
        self.protocol.makeConnection(self.transport)

    def send(self, request, body=b""):
        head = f"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self.protocol.dataReceived(head.encode() + body)

    def take(self):
        return self.transport.getOutBuffer()

    def exchange(self, request, body=b""):
        self.send(request, body)
        return parse_response(self.take())

    def lose(self):
        self.protocol.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def server(make_server):
    return make_server(path="/realtime")


@pytest.fixture
def mounted(server):
    connection = Mounted(server.service.handle_request)
    yield connection
    connection.lose()


def signed(server, method, path, body=b""):
    query = signed_query(server.app, method, path, {}, body, server.now())
    return f"{method} {path}?" + "&".join(f"{name}={value}" for name, value in query.items())


@pytest.mark.parametrize("path", ["/realtime", "/realtime/"])
def test_the_home_page_is_at_the_path_of_the_resource(mounted, path):
    response = mounted.exchange(f"GET {path}")
    assert response.status == 200
    assert b"/realtime/app/APP_KEY" in response.body


def test_the_target_may_be_absolute(server):
    connection = Mounted(server.service.handle_request, leaf=True)
    assert connection.exchange("GET http://x/realtime/up").json() == {"health": "OK"}
    assert connection.exchange("GET http://x").status == 200
    connection.lose()


def test_a_signed_request_publishes(server, mounted):
    client = server.client(path="/realtime/app/")
    client.subscribe("news")
    client.take()

    response = mounted.exchange(signed(server, "POST", "/realtime/apps/app-id/events", BODY), BODY)
    server.settle()

    assert (response.status, response.body) == (200, b"{}")
    assert response.headers["content-type"] == "application/json"
    assert [event["data"] for event in client.take()] == ["x"]


def test_a_query_that_asks_the_store(server, mounted):
    response = mounted.exchange(signed(server, "GET", "/realtime/apps/app-id/connections"))

    assert response.json() == {"connections": 0}


@pytest.mark.parametrize(
    ("request_", "status", "header"),
    [
        ("GET /realtime/nowhere", 404, ("content-type", "application/json")),
        ("PUT /realtime/up", 405, ("allow", "GET, HEAD, OPTIONS")),
        ("POST /realtime/apps/app-id/events", 401, ("content-type", "application/json")),
        ("GET /realtime/app/app-key", 426, ("upgrade", "websocket")),
    ],
)
def test_errors(mounted, request_, status, header):
    response = mounted.exchange(request_)

    assert response.status == status
    assert response.headers[header[0]] == header[1]
    assert response.json()["error"]


def test_the_reason_phrase_is_known(mounted):
    mounted.send("GET /realtime/app/app-key")

    assert mounted.take().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")


def test_head_and_options_have_no_body(mounted):
    head = mounted.exchange("HEAD /realtime/up")
    options = mounted.exchange("OPTIONS /realtime/up")

    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "15")
    assert (options.status, options.body) == (204, b"")


def test_other_paths_belong_to_the_tree(mounted):
    assert mounted.exchange("GET /other").body == b"another page"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ("", "Missing Host"),
        ("Host: x\r\nHost: y\r\n", "several Host"),
        ("Host: x y\r\n", "Bad Host"),
        ("Host: x\r\nTransfer-Encoding: identity\r\n", "Bad Transfer-Encoding"),
    ],
)
def test_a_head_that_twisted_web_accepts_is_held_to_rfc_9112(mounted, headers, problem):
    mounted.protocol.dataReceived(f"GET /realtime/up HTTP/1.1\r\n{headers}\r\n".encode())
    response = parse_response(mounted.take())

    assert response.status == 400
    assert problem in response.json()["error"]


@pytest.fixture
def waiting():
    return Deferred()


@pytest.fixture
def slow(waiting):
    """A connection to a handler that waits."""

    async def handle(request):
        return Response(200, (("Content-Length", "4"),), await waiting)

    return Mounted(handle)


def test_a_response_may_come_later(slow, waiting):
    slow.send("GET /realtime/x")
    assert not slow.take()
    waiting.callback(b"late")

    assert parse_response(slow.take()).body == b"late"
    slow.lose()


def test_a_client_may_disconnect_before_the_response(slow, waiting, log):
    slow.send("GET /realtime/x")
    slow.lose()
    waiting.callback(b"late")

    assert not slow.take()
