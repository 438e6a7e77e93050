"""The multiplexer: any first bytes, in any segments."""

import pytest
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.test.iosim import FakeTransport
from zope.interface import implementer_only

from reverb.apps import App
from reverb.testing import frame, parse_response, signed_query, upgrade_request

UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
READY = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = upgrade_request("/app/app-key?protocol=7")
PING = frame(b'{"event":"pusher:ping","data":{}}')
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(128, 250))


@pytest.fixture
def post(server):
    """A signed request with a body."""
    body = b'{"name":"e","channel":"news","data":"x"}'
    path = "/apps/app-id/events"
    query = signed_query(server.app, "POST", path, {}, body, server.now())
    target = path + "?" + "&".join(f"{name}={value}" for name, value in query.items())
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n".encode() + body


def single_bytes(data):
    return [data[i : i + 1] for i in range(len(data))]


def with_header(line):
    return UPGRADE.replace(b"Host: localhost\r\n", b"Host: localhost\r\n" + line + b"\r\n")


def test_a_request_is_read_from_one_byte_segments(wire):
    client = wire()
    client.send(*single_bytes(UP))
    (response,) = client.responses()
    assert (response.status, response.json()) == (200, {"health": "OK"})


def test_a_request_with_a_body_is_read_from_one_byte_segments(wire, post):
    client = wire()
    client.send(*single_bytes(post + UP))
    assert [r.status for r in client.responses()] == [200, 200]


def test_an_upgrade_is_read_from_one_byte_segments(wire):
    client = wire()
    client.send(*single_bytes(UPGRADE + PING))
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"pusher:connection_established" in answer
    assert b"pusher:pong" in answer


def test_frames_may_follow_in_the_segment_of_the_upgrade(server):
    client = server.client(after=PING + PING)
    assert [e["event"] for e in client.events] == [
        "pusher:connection_established",
        "pusher:pong",
        "pusher:pong",
    ]


def test_an_incomplete_frame_may_follow_in_the_segment_of_the_upgrade(server):
    client = server.client(after=PING[:9])
    assert len(client.events) == 1
    client.send_raw(PING[9:])
    assert client.events[-1]["event"] == "pusher:pong"


def test_requests_on_one_connection_are_answered_in_order(wire):
    client = wire()
    for _ in range(5):
        client.send(UP)
        client.send(READY)
    assert [r.body for r in client.responses()] == [b'{"health":"OK"}', b'{"ready":true}'] * 5
    assert not client.ended


@pytest.mark.parametrize("size", [1, 7, 30, 31, 100_000])
def test_pipelined_requests_are_answered_in_order(wire, post, size):
    data = (UP + post + READY) * 20
    client = wire()
    client.send(*(data[i : i + size] for i in range(0, len(data), size)))
    assert [r.status for r in client.responses()] == [200, 200, 200] * 20


def test_two_thousand_pipelined_requests_do_not_exhaust_the_stack(wire):
    client = wire()
    client.send(UP * 2000)
    assert len(client.responses()) == 2000


def test_an_upgrade_may_be_the_second_request_of_a_connection(wire, server):
    client = wire()
    client.send(UP)
    client.take()
    client.send(UPGRADE)
    assert b"pusher:connection_established" in client.take()
    client.send(PING)
    assert b"pusher:pong" in client.take()
    # The HTTP channel is detached, so its idle timeout does not close the connection.
    for _ in range(20):
        client.advance(5)
        client.send(frame(b"", opcode=10))
    assert not client.ended
    assert not server.service.factory.http_connections


def test_an_upgrade_that_is_pipelined_behind_a_request_gets_a_json_error(wire):
    client = wire()
    client.send(UP + UPGRADE)
    assert [r.status for r in client.responses()] == [200, 426]


@pytest.mark.parametrize("ending", [b"", b"\r\n\r\n"])
@pytest.mark.parametrize("begun", [b"", UP])
def test_a_head_that_is_too_large_is_refused(make_server, wire, begun, ending):
    server = make_server(max_request_head_bytes=300)
    client = wire(server)
    if begun:
        client.send(begun)
        client.take()
    client.send(b"GET /up HTTP/1.1\r\nX: " + b"x" * 400 + ending)
    (response,) = client.responses()
    assert response.status == 431
    assert "300 bytes" in response.json()["error"]
    assert response.headers["connection"] == "close"
    assert client.ended


def test_a_head_that_grows_too_large_is_refused_before_it_is_complete(make_server, wire):
    server = make_server(max_request_head_bytes=300)
    client = wire(server)
    client.send(b"GET /up HTTP/1.1\r\n")
    for _ in range(40):
        client.send(b"X-A: aaaaaaaa\r\n")
        if client.ended:
            break
    assert client.responses()[0].status == 431


def test_bodies_and_frames_do_not_count_towards_the_head_limit(make_server, wire):
    server = make_server(max_request_head_bytes=300)
    client = wire(server)
    client.send(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
    assert client.responses()[0].status == 404
    client = server.client(after=PING * 30)
    assert len(client.events) == 31


@pytest.mark.parametrize("begun", [b"", UP[:20], UPGRADE[:-1], b"\xff" * 100])
def test_an_incomplete_head_gets_408_and_then_an_abort(make_server, wire, begun):
    server = make_server(handshake_timeout=4)
    client = wire(server)
    if begun:
        client.send(begun)
    client.advance(3)
    assert not client.ended
    client.advance(3)
    (response,) = client.responses()
    assert response.status == 408
    assert "4 seconds" in response.json()["error"]
    assert client.ended
    assert not client.transport.aborted
    client.advance(6)
    assert client.transport.aborted


def test_bytes_that_trickle_in_do_not_extend_the_deadline(make_server, wire):
    client = wire(make_server(handshake_timeout=4))
    for byte in single_bytes(UP)[:6]:
        client.send(byte)
        client.advance(1)
    assert client.responses()[0].status == 408


def test_a_request_cancels_the_deadline(make_server, wire):
    client = wire(make_server(handshake_timeout=2))
    client.send(UP)
    client.advance(20)
    assert len(client.responses()) == 1
    assert not client.ended


def test_an_idle_api_connection_is_closed(make_server, wire):
    client = wire(make_server(request_timeout=5))
    client.send(UP)
    client.advance(4)
    assert not client.ended
    client.send(UP)
    client.advance(4)
    assert not client.ended
    client.advance(2)
    assert client.ended


@pytest.mark.parametrize(
    "data", [b"\x00\r\n\r\n", b"\r\n\r\n", b"EHLO\r\n\r\n", b"PROXIES / HTTP/1.1\r\n\r\n"]
)
def test_garbage_is_a_bad_request(wire, data):
    client = wire()
    client.send(data)
    (response,) = client.responses()
    assert response.status == 400
    assert "error" in response.json()
    assert client.ended


PROXY_V1 = b"PROXY TCP4 192.0.2.1 203.0.113.1 5678 443\r\n"
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (CLIENT_HELLO, "tls_on_plain_port: This port has no TLS: use http:// or ws://"),
        (CLIENT_HELLO[:1], "tls_on_plain_port: This port has no TLS"),
        (CLIENT_HELLO + b"\r\n\r\n", "tls_on_plain_port: This port has no TLS"),
        (CLIENT_HELLO + bytes(100_000), "tls_on_plain_port: This port has no TLS"),
        (PROXY_V1, "unexpected_proxy_header: This port does not read the PROXY protocol"),
        (PROXY_V1 + UP, "unexpected_proxy_header: This port does not read the PROXY protocol"),
        (PROXY_V2 + UP, "unexpected_proxy_header: This port does not read the PROXY protocol"),
    ],
)
def test_another_protocol_is_refused_at_once(server, wire, log, data, line):
    reason, _, advice = line.partition(": ")
    for _ in range(3):
        client = wire()
        client.send(data)
        (response,) = client.responses()
        assert response.status == 400
        assert response.json()["error"].startswith(advice)
        assert client.ended
    assert server.service._meter.refused == {reason: 3}
    (logged,) = log.lines("refused ")
    assert f": {line}" in logged


def test_a_refused_client_may_go_on_sending(server, wire):
    client = wire()
    client.send(*single_bytes(CLIENT_HELLO))
    assert [response.status for response in client.responses()] == [400]
    assert server.service._meter.refused == {"tls_on_plain_port": 1}


def test_later_requests_are_not_examined_for_other_protocols(server, wire):
    client = wire()
    client.send(UP)
    client.send(PROXY_V1 + UP)
    assert [response.status for response in client.responses()] == [200, 400]
    assert not server.service._meter.refused


def test_a_post_with_an_upgrade_header_is_an_api_request(server):
    answer = server.exchange(UPGRADE.replace(b"GET /app/", b"POST /apps/"))
    assert parse_response(answer).status == 404


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.3", b"web-socket"])
def test_an_upgrade_to_another_protocol_is_ignored(server, protocol):
    answer = server.exchange(
        b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        + protocol
        + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    assert parse_response(answer).json() == {"health": "OK"}


@pytest.mark.parametrize(
    "head",
    [
        UPGRADE.replace(b"Upgrade: websocket", b"upgrade:WebSocket"),
        UPGRADE.replace(b"Upgrade: websocket", b"UPGRADE:\tWEBSOCKET"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
    ],
)
def test_an_upgrade_is_recognized_in_any_spelling(server, head):
    assert server.exchange(head).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("start", [b"http://localhost", b"HTTPS://localhost:443"])
@pytest.mark.parametrize("extra", [b"", b"Origin: http://a.test\r\nOrigin: http://a.test\r\n"])
def test_the_target_of_an_upgrade_may_be_absolute(server, start, extra):
    # RFC 9112, 3.2.2, and RFC 6455, 4.1. The extra header lines lead to the slow path.
    head = UPGRADE.replace(b"GET /app", b"GET " + start + b"/app").replace(
        b"Upgrade:", extra + b"Upgrade:"
    )
    assert b"pusher:connection_established" in server.exchange(head)


@pytest.mark.parametrize("target", [b"http://localhost/up", b"HTTP://localhost:8080/up?a=b"])
def test_the_target_of_a_request_may_be_absolute(wire, target):
    client = wire()
    client.send(UP.replace(b"/up", target))
    (response,) = client.responses()
    assert (response.status, response.json()) == (200, {"health": "OK"})


@pytest.mark.parametrize(
    "hidden",
    [
        b"\x00",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x1d",
        b"\x1e",
        b"\x7f",
        b"\r",
        b"\n",
        b"\r\n ",
        b"\r\n\t",
    ],
)
@pytest.mark.parametrize("where", ["value", "name", "request line", "last"])
def test_an_upgrade_that_could_hide_a_header_is_refused(server, hidden, where):
    head = {
        "value": with_header(b"X-A: v" + hidden + b"Origin: https://good.test"),
        "name": with_header(b"X-" + hidden + b"A: v"),
        "request line": UPGRADE.replace(b"protocol=7", b"protocol=7" + hidden + b"a"),
        "last": UPGRADE.replace(b"Version: 13", b"Version: 13" + hidden + b"a"),
    }[where]
    response = parse_response(server.exchange(head))
    assert response.status == 400
    assert response.json()["error"]


def test_a_cookie_in_utf8_that_contains_a_next_line_byte_is_accepted(server):
    client = server.client(headers={"Cookie": "name=Å"})
    assert client.handshake.startswith(b"HTTP/1.1 101 ")
    # The same bytes in a raw request: Å is C3 85 in UTF-8.
    assert server.exchange(with_header("Cookie: n=Å".encode())).startswith(b"HTTP/1.1 101 ")


def test_a_next_line_byte_does_not_hide_a_header(make_server):
    app = App(
        id="1", key="app-key", secret="s", allowed_origins=("good.test",), require_origin=True
    )
    server = make_server(app)
    answer = server.exchange(with_header(b"X-A: v\x85Origin: https://good.test"))
    assert b'"code":4009' in answer


@pytest.mark.parametrize(
    "head",
    [
        UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
        UPGRADE.replace(b"nonce", b"").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        UPGRADE.replace(b"Version: 13", b"Version: 8"),
        UPGRADE.replace(b"Version: 13", b"Version: x"),
        UPGRADE.replace(b"Connection: Upgrade\r\n", b""),
        UPGRADE.replace(b"Host: localhost\r\n", b""),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        UPGRADE.replace(b"?protocol", b"#fragment?protocol"),
        with_header(b"Host: another"),
    ],
)
def test_a_malformed_upgrade_gets_a_json_error(server, wire, head):
    client = wire()
    client.send(head)
    (response,) = client.responses()
    assert 400 <= response.status < 600
    assert list(response.json()) == ["error"]
    assert client.ended
    client.vanish()


def test_nothing_is_left_of_a_client_that_vanishes_in_the_middle_of_a_head(server, wire):
    client = wire()
    client.send(UPGRADE[:30])
    assert server.service.sizes()["HTTP connections"] == 1
    client.vanish()
    assert not any(server.service.sizes().values())


def test_a_transport_without_tcp_options_is_served(server):
    @implementer_only(ITransport, IConsumer)
    class Pipe(FakeTransport):  # Behaves as Twisted's Unix sockets do.
        def setTcpNoDelay(self, enabled):
            raise OSError(95, "Operation not supported")

    protocol = server.service.factory.buildProtocol(None)
    transport = Pipe(protocol, isServer=True)
    protocol.makeConnection(transport)
    protocol.dataReceived(UP)
    assert b'{"health":"OK"}' in transport.getOutBuffer()
    transport.reportDisconnect()


def test_a_client_that_is_still_sending_receives_the_431(make_server, real):
    """Closing a socket with unread bytes resets the connection, and the response is lost."""
    server = make_server(max_request_head_bytes=1000)
    client = real(server)
    client.socket.sendall(b"GET /up HTTP/1.1\r\nX: " + b"x" * 200_000)
    for _ in range(5):
        client.turn()
    assert b" 431 " in client.read_all()
