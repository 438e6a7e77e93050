"""A request is refused before its body is read, and the bodies that are read are bounded."""

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed

from reverb.service import ReverbService
from reverb.testing import APP, parse_response, signed_query
from reverb.transport.http_body import BodyBudget

EVENTS = "/apps/app-id/events"
BODY = b'{"name":"e","channel":"news","data":"x"}'
LARGE = BODY + b" " * 200_000
UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
FRAMINGS = ["Content-Length", "Transfer-Encoding"]


def head(server, *headers, body=BODY, framing="Content-Length", **changes):
    """Make the head of a signed request that publishes; a changed parameter is not signed."""
    query = signed_query(server.app, "POST", EVENTS, {}, body, server.now()) | changes
    target = EVENTS + "?" + "&".join(f"{name}={value}" for name, value in query.items())
    frame = f"Content-Length: {len(body)}" if framing == "Content-Length" else f"{framing}: chunked"
    lines = [f"POST {target} HTTP/1.1", "Host: x", frame, *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def wrap(body, framing):
    """Encode a body as its framing demands."""
    return body if framing == "Content-Length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def reserved(server):
    return server.service.sizes()["bytes of request bodies"]


class TestRefusalBeforeTheBody:
    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"auth_signature": "0" * 64}, 401),
            ({"auth_signature": ""}, 401),
            ({"body_md5": ""}, 401),
            ({"auth_timestamp": "1"}, 401),
            ({"auth_key": "nobody"}, 400),
        ],
    )
    def test_a_bad_signature(self, server, wire, framing, changes, status):
        connection = wire()
        expect = "Expect: 100-continue"
        connection.send(head(server, expect, framing=framing, body=LARGE, **changes))
        (response,) = connection.responses()
        assert response.status == status
        assert response.headers["connection"] == "close"
        assert connection.ended
        connection.send(wrap(LARGE, framing), UP)
        assert connection.take() == b""
        assert reserved(server) == 0

    @pytest.mark.parametrize(
        ("line", "status"), [("POST /nowhere", 404), ("POST /up", 405), ("POST /app/key", 426)]
    )
    def test_a_route_that_reads_no_body(self, wire, line, status):
        connection = wire()
        connection.send(f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        assert [response.status for response in connection.responses()] == [status]
        assert connection.ended

    def test_a_body_that_came_with_the_head_does_not_end_the_connection(self, server, wire):
        connection = wire()
        bad = head(server, auth_signature="0" * 64) + BODY
        connection.send(bad, bad + UP, UP)
        assert [response.status for response in connection.responses()] == [401, 401, 200, 200]

    def test_the_text_is_that_of_a_complete_request(self, server, wire):
        bad = head(server, auth_signature="0" * 64)
        early, late = wire(), wire()
        early.send(bad)
        late.send(bad + BODY)
        (one,), (other,) = early.responses(), late.responses()
        assert one.body == other.body

    def test_a_body_that_was_not_signed_is_refused_when_it_is_complete(self, server, wire):
        connection = wire()
        connection.send(head(server), BODY.replace(b"news", b"olds"), UP)
        refused, up = connection.responses()
        assert (refused.status, up.status) == (401, 200)
        assert "Invalid body_md5" in refused.json()["error"]

    def test_the_rate_limit_counts_a_request_once(self, make_server, wire):
        server = make_server(msgspec.structs.replace(APP, api_requests_per_second=1))
        first, second = wire(server), wire(server)
        first.send(head(server), BODY)
        second.send(head(server))
        assert [response.status for response in first.responses()] == [200]
        assert [response.status for response in second.responses()] == [429]


class TestContinue:
    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_it_is_sent_after_the_signature_is_checked(self, server, wire, framing):
        connection = wire()
        connection.send(head(server, "Expect: 100-continue", framing=framing))
        assert connection.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(wrap(BODY, framing))
        assert [response.status for response in connection.responses()] == [200]

    def test_it_is_not_sent_when_the_body_is_there(self, server, wire):
        connection = wire()
        connection.send(head(server, "Expect: 100-continue") + BODY)
        assert [response.status for response in connection.responses()] == [200]


class TestBudget:
    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_a_request_beyond_it_is_503_and_others_are_served(self, make_server, wire, framing):
        server = make_server(max_total_request_bytes=100)
        first, second, third = wire(server), wire(server), wire(server)
        first.send(head(server), BODY[:5])
        second.send(head(server), BODY[:5])
        assert reserved(server) == 80
        third.send(head(server, framing=framing), wrap(BODY, framing))
        (response,) = third.responses()
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
        assert response.headers["connection"] == "close"
        assert "too many large requests" in response.json()["error"]
        first.send(BODY[5:])
        second.send(BODY[5:])
        assert [r.status for r in (*first.responses(), *second.responses())] == [200, 200]
        assert reserved(server) == 0

    def test_one_body_is_received_whatever_its_size(self, make_server, wire):
        server = make_server(max_total_request_bytes=10)
        for framing in FRAMINGS:
            connection = wire(server)
            chunks = wrap(LARGE, framing)
            connection.send(head(server, body=LARGE, framing=framing), chunks[:99], chunks[99:])
            assert [response.status for response in connection.responses()] == [200]
        assert reserved(server) == 0

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("way", ["vanish", "time out", "malformed"])
    def test_it_is_released_when_the_request_ends_otherwise(self, make_server, wire, framing, way):
        server = make_server(request_timeout=5, max_request_bytes=500_000)
        connection = wire(server)
        connection.send(head(server, body=LARGE, framing=framing), b"40\r\n" + b"x" * 9)
        assert reserved(server) > 0
        if way == "vanish":
            connection.vanish()
        elif way == "time out":
            connection.advance(6)
            assert [response.status for response in connection.responses()] == [408]
        elif framing == "Transfer-Encoding":
            connection.send(b"x" * 80)
            assert [response.status for response in connection.responses()] == [400]
        else:
            connection.send(LARGE)
        assert reserved(server) == 0

    def test_no_limit(self):
        budget = BodyBudget(0)
        assert budget.reserve(10**12)
        assert budget.reserve(10**12)

    def test_memory_does_not_grow_with_the_number_of_chunks(self, server, wire):
        connection = wire()
        connection.send(head(server, framing="Transfer-Encoding", body=LARGE), b"1\r\nx\r\n" * 5000)
        assert reserved(server) == 5000


class WaitingApps:
    """A source of apps that answers when the test says so."""

    def __init__(self):
        self.found = Deferred()

    def by_id(self, app_id):
        return self.found

    def by_key(self, key):
        return succeed(APP)


class TestASourceOfAppsThatWaits:
    @pytest.fixture
    def apps(self):
        return WaitingApps()

    @pytest.fixture
    def server(self, make_server, apps):
        return make_server(
            service=lambda settings, **more: ReverbService(settings, apps=apps, **more)
        )

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("arrives", ["before", "after", "half"])
    def test_a_valid_request(self, server, apps, wire, framing, arrives):
        connection = wire(server)
        data = wrap(BODY, framing)
        cut = {"before": len(data), "after": 0, "half": 9}[arrives]
        connection.send(head(server, "Expect: 100-continue", framing=framing), data[:cut])
        assert connection.take() == b""
        apps.found.callback(APP)
        connection.send(data[cut:])
        answer = connection.take().removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert parse_response(answer).status == 200
        connection.send(UP)
        assert [response.status for response in connection.responses()] == [200]

    @pytest.mark.parametrize("framing", FRAMINGS)
    def test_a_refusal(self, server, apps, wire, framing):
        connection = wire(server)
        connection.send(head(server, framing=framing))
        apps.found.callback(None)
        connection.settle()
        assert [response.status for response in connection.responses()] == [404]
        assert connection.ended

    def test_a_refusal_of_a_complete_request(self, server, apps, wire):
        connection = wire(server)
        connection.send(head(server) + BODY, UP)
        apps.found.callback(None)
        connection.settle()
        assert [response.status for response in connection.responses()] == [404, 200]

    def test_the_client_may_vanish_meanwhile(self, server, apps, wire, log):
        connection = wire(server)
        connection.send(head(server), BODY[:5])
        connection.vanish()
        apps.found.callback(APP)
        assert reserved(server) == 0

    def test_what_follows_is_answered_in_order(self, server, apps, real):
        client = real(server)
        client.send(UP + head(server) + BODY[:9])
        client.socket.sendall(BODY[9:] + UP * 40)
        client.turn()
        client.read_until(b"HTTP/1.1 200")
        assert client.buffer.count(b"HTTP/1.1 200") == 1
        apps.found.callback(APP)
        client.read_times(b"HTTP/1.1 200", 42)
        assert client.transport in server.clock.getReaders()

    def test_a_refusal_ends_what_follows(self, server, apps, real):
        client = real(server)
        client.send(UP + head(server, body=LARGE) + LARGE[:9])
        client.socket.sendall(LARGE[9:] + UP * 40)
        client.turn()
        apps.found.callback(None)
        answer = client.read_all()
        assert answer.count(b"HTTP/1.1 200") == answer.count(b"HTTP/1.1 404") == 1
        assert answer.count(b"HTTP/1.1 ") == 2

    def test_nothing_is_read_meanwhile(self, server, apps, real):
        client = real(server)
        client.send(head(server, body=LARGE))
        client.socket.setblocking(False)
        client.socket.send(LARGE)
        client.turn()
        assert client.transport not in server.clock.getReaders()
        client.socket.settimeout(5)
        apps.found.callback(APP)
        client.turn()
        client.socket.sendall(LARGE[0:0])
        assert client.transport in server.clock.getReaders()


class TestAClientThatIsStillSending:
    """Closing a socket with unread bytes resets the connection, and the response is lost."""

    def test_it_receives_the_refusal(self, server, real):
        client = real(server)
        client.socket.sendall(head(server, body=LARGE, auth_signature="0" * 64) + LARGE[:100_000])
        client.turn()
        client.socket.sendall(LARGE[100_000:])
        assert client.read_all().startswith(b"HTTP/1.1 401 ")

    def test_the_server_discards_a_bounded_number_of_bytes(self, server, real):
        client = real(server)
        client.send(head(server, auth_signature="0" * 64))
        client.socket.settimeout(0.1)
        sent = 0
        try:
            while sent < 100_000_000:
                sent += client.socket.send(b"x" * 65_536)
                client.turn()
        except TimeoutError:
            pass
        assert 4_000_000 < sent < 50_000_000
        assert client.transport not in server.clock.getReaders()
        client.advance(6)
        assert not client.transport.connected
