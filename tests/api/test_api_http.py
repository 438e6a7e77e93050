"""HTTP: methods, errors, limits, keep-alive and the kinds of request bodies."""

import gc
import json

import pytest
from OpenSSL import SSL
from twisted.internet import error as errors
from twisted.internet.defer import Deferred

from reverb.service import ReverbService
from reverb.stores.memory import MemoryStore
from reverb.transport.fast_request import parse_fast_request

EVENTS = "/apps/app-id/events"
BODY = b'{"name":"event","channel":"news","data":"x"}'
UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"


def error(response):
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    assert response.json()["error"]
    return response.json()["error"]


@pytest.fixture
def post(signed):
    """Make the bytes of a signed request that publishes, with the test's own headers."""

    def make(server, *headers, body=BODY, wire_body=None):
        query = "&".join(f"{k}={v}" for k, v in signed(server, "POST", EVENTS, body).items())
        if not headers:
            headers = (f"Content-Length: {len(body)}",)
        head = "\r\n".join([f"POST {EVENTS}?{query} HTTP/1.1", "Host: x", *headers])
        return head.encode() + b"\r\n\r\n" + (body if wire_body is None else wire_body)

    return make


# Routes and methods


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/x",
        "/apps",
        "/apps/",
        "/apps/app-id",
        "/apps/app-id/",
        "/apps/app-id/nope",
        "/up/x",
        "/ready/",
        "/users",
        "/users/",
        "/users/u",
        "/apps/app-id/users",
        "/apps/app-id/users/u",
        "/apps/app-id/users/u/nope",
        "/apps/app-id/channels/x/y",
        "/apps/app-id/events/x",
        "/../up",
        "/%2e%2e/up",
        "/apps/app-id/channels/presence-x/users/x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_route_is_404(server, method, path):
    response = server.request(method, path, sign=False)
    assert response.status == 404
    assert error(response)


ROUTES = {
    "/": "GET, HEAD",
    "/up": "GET, HEAD",
    "/ready": "GET, HEAD",
    "/apps/app-id/events": "POST",
    "/apps/app-id/batch_events": "POST",
    "/apps/app-id/channels": "GET, HEAD",
    "/apps/app-id/channels/x": "GET, HEAD",
    "/apps/app-id/channels/x/users": "GET, HEAD",
    "/apps/app-id/channels/x/events": "POST",
    "/apps/app-id/channels/x/stats": "GET, HEAD",
    "/apps/app-id/connections": "GET, HEAD",
    "/apps/app-id/users/u/terminate_connections": "POST",
    "/users/u/terminate_connections": "POST",
}


@pytest.mark.parametrize(("path", "methods"), ROUTES.items())
def test_a_wrong_method_is_405_with_the_allowed_methods(server, path, methods):
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO"} - set(
        methods.split(", ")
    ):
        response = server.request(method, path, sign=False)
        assert response.status == 405
        assert response.headers["allow"] == f"{methods}, OPTIONS"
        assert error(response)


@pytest.mark.parametrize(("path", "methods"), ROUTES.items())
def test_options_returns_the_allowed_methods(wire, path, methods):
    client = wire()
    client.send(f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + UP)
    data, client.received = client.received, b""
    assert data.startswith(b"HTTP/1.1 204 ")
    assert f"Allow: {methods}, OPTIONS".encode() in data
    # There is neither a body nor anything that a client would parse as one.
    assert b"\r\n\r\nHTTP/1.1 200 OK" in data


@pytest.mark.parametrize("path", [path for path, methods in ROUTES.items() if "HEAD" in methods])
def test_head_responds_like_get_without_the_body(server, wire, path):
    get = server.request("GET", path)
    head = server.request("HEAD", path)
    assert head.status == get.status
    assert head.headers["content-length"] == str(len(get.body)) or get.status == 400
    assert head.body == b""


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("path", ["/app/app-key", "/app/x", "/app", "/app/app-key/x"])
def test_a_websocket_route_without_an_upgrade_is_426(server, method, path):
    response = server.request(method, path, sign=False)
    assert response.status == 426
    assert response.headers["upgrade"] == "websocket"
    if method != "HEAD":
        assert "Upgrade" in error(response)


def test_the_routes_have_the_servers_prefix(make_server):
    server = make_server(path="/a/b")
    assert server.request("GET", "/a/b/up").json() == {"health": "OK"}
    assert server.request("GET", "/a/b/apps/app-id/channels").json() == {"channels": {}}
    assert server.request("POST", "/a/b/users/u/terminate_connections").json() == {}
    for path in ("/up", "/a/up", "/a", "/a/b/x", "/apps/app-id/channels"):
        assert server.request("GET", path).status == 404


# Keep-alive


def test_a_hundred_publications_on_one_connection(server, wire, post):
    client = server.subscriber("news")
    connection = wire()
    for i in range(100):
        body = json.dumps({"name": "e", "channel": "news", "data": str(i)}).encode()
        connection.send(post(server, body=body))
        (response,) = connection.responses()
        assert (response.status, response.body) == (200, b"{}")
    assert [e["data"] for e in client.take()] == [str(i) for i in range(100)]
    assert not connection.ended


def test_an_error_does_not_end_the_connection(server, wire, post):
    connection = wire()
    for bad in (b"{", b"[]", b'{"name":"e"}'):
        missing = UP.replace(b"/up", b"/x")
        connection.send(post(server, body=bad), post(server), missing, UP)
        assert [r.status for r in connection.responses()] == [400, 200, 404, 200]
    assert not connection.ended


def test_a_body_may_arrive_in_any_segments(server, wire, post):
    data = post(server)
    for size in (1, 3, len(data) - len(BODY), len(data) - 1):
        connection = wire()
        connection.send(*(data[i : i + size] for i in range(0, len(data), size)))
        assert [r.status for r in connection.responses()] == [200]


def test_the_head_of_a_trickling_request_is_parsed_once(server, wire, post, monkeypatch):
    parsed = []

    def parse_head(data):
        parsed.append(data)
        return parse_fast_request(data)

    monkeypatch.setattr("reverb.transport.http.parse_fast_request", parse_head)
    data = post(server)
    connection = wire()
    head = len(data) - len(BODY)
    connection.send(data[:head], *(data[i : i + 1] for i in range(head, len(data))))
    assert [r.status for r in connection.responses()] == [200]
    assert len(parsed) == 1


@pytest.mark.parametrize(
    "request_",
    [UP.replace(b"1.1", b"1.0"), UP.replace(b"Host: x", b"Host: x\r\nConnection: close")],
)
def test_a_connection_ends_when_the_client_requests_it(wire, request_):
    connection = wire()
    connection.send(request_)
    assert [r.status for r in connection.responses()] == [200]
    assert connection.ended


# Slow and large


@pytest.mark.parametrize("rest", [b"x" * 5, b""])
def test_an_incomplete_body_is_408_after_the_timeout(make_server, wire, post, rest):
    server = make_server(request_timeout=5)
    connection = wire(server)
    connection.send(post(server, wire_body=rest))
    connection.advance(4)
    assert connection.responses() == []
    connection.advance(2)
    (response,) = connection.responses()
    assert response.status == 408
    assert "5 seconds" in error(response)
    assert connection.ended


def test_a_trickling_body_does_not_extend_the_deadline(make_server, wire, post):
    server = make_server(request_timeout=5)
    connection = wire(server)
    connection.send(UP, post(server, "Transfer-Encoding: chunked", wire_body=b""))
    for _ in range(7):
        if not connection.ended:
            connection.send(b"1\r\nx\r\n")
        connection.advance(1)
    assert [r.status for r in connection.responses()] == [200, 408]
    assert connection.ended


@pytest.mark.parametrize("length", [b"101", b"1000000000000", b"9" * 40, b"9" * 5000])
def test_a_body_announced_too_large_is_413_before_it_arrives(make_server, wire, length):
    connection = wire(make_server(max_request_bytes=100))
    connection.send(
        b"POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Content-Length: " + length + b"\r\n\r\n"
    )
    (response,) = connection.responses()
    assert response.status == 413
    assert error(response)
    assert connection.ended
    connection.send(b"x" * 200, UP)
    assert connection.responses() == []


def test_a_body_that_grows_too_large_is_413(make_server, wire, post):
    server = make_server(max_request_bytes=100)
    connection = wire(server)
    connection.send(post(server, "Transfer-Encoding: chunked", wire_body=b""))
    for _ in range(4):
        connection.send(b"1e\r\n" + b"x" * 30 + b"\r\n")
    (response,) = connection.responses()
    assert response.status == 413
    assert connection.ended
    connection.send(b"1e\r\n" + b"x" * 30 + b"\r\n", b"0\r\n\r\n", UP)
    assert connection.responses() == []


def test_a_body_of_the_maximum_size_is_accepted(make_server, wire, post):
    server = make_server(max_request_bytes=100)
    body = BODY + b" " * (100 - len(BODY))
    connection = wire(server)
    connection.send(post(server, body=body))
    chunked = b"64\r\n" + body + b"\r\n0\r\n\r\n"
    connection.send(post(server, "Transfer-Encoding: chunked", body=body, wire_body=chunked))
    assert [r.status for r in connection.responses()] == [200, 200]


def test_a_body_may_have_any_size_without_a_limit(make_server, wire, post):
    server = make_server(max_request_bytes=0)
    connection = wire(server)
    connection.send(post(server, body=BODY + b" " * 3_000_000))
    assert [r.status for r in connection.responses()] == [200]


# Malformed requests


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5_0",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "no colon",
        ": no name",
        "a b: space in the name",
        "X: \x00",
    ],
)
def test_a_malformed_head_is_400_and_ends_the_connection(server, wire, headers):
    connection = wire()
    connection.send(f"POST /up HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\nhello".encode() + UP)
    (response,) = connection.responses()
    assert response.status == 400
    assert error(response)
    assert connection.ended


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"\r\n",
        b"5 \r\n",
        b"5" * 5000,
    ],
)
def test_malformed_chunks_are_400(server, wire, post, chunks):
    connection = wire()
    connection.send(post(server, "Transfer-Encoding: chunked", wire_body=b""), chunks, UP)
    (response,) = connection.responses()
    assert response.status == 400
    assert error(response)
    assert connection.ended


@pytest.mark.parametrize(
    "line",
    [
        b"GET",
        b"GET /up",
        b"GET /up HTTP/1.1 x",
        b"GET  /up HTTP/1.1",
        b"/up",
        b"\xff /up HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /up HTTP/x",
    ],
)
def test_a_malformed_request_line_is_400(wire, line):
    connection = wire()
    connection.send(line + b"\r\n\r\n")
    assert [r.status for r in connection.responses()] in ([400], [505])
    assert connection.ended


def test_a_good_chunked_body_is_read(server, wire, post):
    client = server.subscriber("news")
    chunked = (
        b"5;ext=1\r\n"
        + BODY[:5]
        + b"\r\n"
        + b"%X\r\n" % (len(BODY) - 5)
        + BODY[5:]
        + b"\r\n0\r\nX-T: 1\r\n\r\n"
    )
    connection = wire()
    connection.send(post(server, "Transfer-Encoding: chunked", wire_body=chunked) + UP)
    assert [r.status for r in connection.responses()] == [200, 200]
    assert len(client.take()) == 1


def test_a_client_that_expects_100_continue_receives_it(server, wire, post):
    connection = wire()
    data = post(server, f"Content-Length: {len(BODY)}", "Expect: 100-continue")
    connection.send(data[: -len(BODY)])
    assert connection.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.received = b""
    connection.send(BODY)
    assert [r.status for r in connection.responses()] == [200]


# Requests that wait for the store


class SlowStore(MemoryStore):
    """A store whose count of connections the test completes."""

    def connections(self, app_id):
        self.pending_count = Deferred()
        return self.pending_count


@pytest.fixture
def slow(make_server, wire, signed):
    """A connection whose request waits for the store, and the store."""
    stores = []

    def service(settings, **more):
        stores.append(SlowStore(more["runtime"].reactor.seconds))
        return ReverbService(settings, store=stores[0], **more)

    server = make_server(service=service)
    path = "/apps/app-id/connections"
    query = "&".join(f"{k}={v}" for k, v in signed(server, "GET", path).items())
    connection = wire(server)
    connection.send(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert connection.responses() == []
    return connection, stores[0]


def test_pipelined_requests_wait_for_the_previous_one(slow):
    connection, store = slow
    connection.send(UP, UP[:10])
    connection.advance(100)
    assert connection.responses() == []
    store.pending_count.callback(7)
    connection.send(UP[10:])
    counted, *ups = connection.responses()
    assert counted.json() == {"connections": 7}
    assert [r.status for r in ups] == [200, 200]


@pytest.mark.parametrize(
    "reason",
    [None, errors.ConnectionLost(), errors.ConnectionAborted(), errors.TimeoutError(), SSL.Error()],
)
@pytest.mark.parametrize("fails", [True, False])
def test_a_client_may_disconnect_before_the_response(slow, log, reason, fails):
    connection, store = slow
    connection.vanish(reason)
    if fails:
        store.pending_count.errback(RuntimeError("lost too"))
        assert len(log.problems()) == 1
    else:
        store.pending_count.callback(7)
    del store.pending_count, connection.transport
    gc.collect()  # Twisted logs an unhandled error when it is collected.


def test_a_failing_store_is_500_without_details(slow, log):
    connection, store = slow
    store.pending_count.errback(RuntimeError("password of the database"))
    connection.settle()
    (response,) = connection.responses()
    assert response.status == 500
    assert "password" not in error(response)
    assert len(log.problems()) == 1
    connection.send(UP)
    assert [r.status for r in connection.responses()] == [200]
