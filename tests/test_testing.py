"""The published fakes behave as documented, for tests of applications."""

import doctest

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reverb.testing
from reverb.apps import App
from reverb.envelope import Publication
from reverb.protocol import signing
from reverb.protocol.frames import Frame, FrameBatch
from reverb.service import ReverbService
from reverb.testing import (
    APP,
    NOW,
    HeldBroker,
    MemoryConnection,
    MemoryServer,
    frame,
    parse_frame,
    parse_response,
    signed_query,
    upgrade_request,
)

OTHER = App(id="other-id", key="other-key", secret="other-secret")
ENVELOPES = [Publication("1", "news", b"%d" % number) for number in range(3)]


@pytest.fixture
def server():
    server = MemoryServer()
    yield server
    server.stop()


def names(events):
    return [event["event"].rpartition(":")[2] for event in events]


def test_the_example_of_the_module():
    result = doctest.testmod(reverb.testing)

    assert result.attempted > 5
    assert result.failed == 0


class TestMemoryServer:
    def test_it_has_a_default_app(self, server):
        assert server.app is APP
        assert server.client().connected

    def test_its_first_app_is_the_default(self):
        server = MemoryServer(OTHER, APP)

        assert server.app is OTHER
        for client in (server.client(), server.client(APP.key)):
            assert names(client.events) == ["connection_established"]
        server.stop()

    def test_settings(self):
        server = MemoryServer(path="/realtime")

        assert server.client(path="/realtime/app/").connected
        assert not server.client().connected
        server.stop()

    def test_another_service(self):
        broker = HeldBroker()
        server = MemoryServer(service=lambda s, **more: ReverbService(s, broker=broker, **more))
        client = server.client()
        client.subscribe("news")
        server.publish("news", "e", "1")
        assert names(client.take()) == ["subscription_succeeded"]
        broker.release()
        server.settle()

        assert names(client.take()) == ["e"]
        server.stop()

    def test_advance_lets_time_pass(self, server):
        assert server.now() == NOW
        server.advance(90.5)

        assert server.clock.seconds() == pytest.approx(90.5)
        assert server.now() == pytest.approx(NOW + 90.5)

    def test_publish_delivers_before_it_returns(self, server):
        one, other = server.client(), server.client()
        for client in (one, other):
            client.subscribe("news")
            client.take()
        server.publish("news", "e", {"a": 1}, socket_id=one.socket_id)

        assert one.take() == []
        assert other.take() == [{"event": "e", "channel": "news", "data": '{"a":1}'}]

    def test_requests_are_signed(self, server):
        client = server.client()
        client.subscribe("news")
        body = {"name": "e", "channel": "news", "data": "x"}
        response = server.request("POST", "/apps/app-id/events", body)

        assert (response.status, response.json()) == (200, {})
        assert client.events[-1]["data"] == "x"

    def test_requests_can_be_signed_by_another_app_or_unsigned(self, server):
        path = "/apps/app-id/channels"

        assert server.request("GET", path).status == 200
        assert server.request("GET", path, app=OTHER).status in {400, 401}
        assert server.request("GET", path, sign=False).status in {400, 401}

    def test_requests_have_a_query(self, server):
        server.client().subscribe("presence-x", channel_data='{"user_id":"1"}')
        query = {"filter_by_prefix": "presence-", "info": "user_count"}
        response = server.request("GET", "/apps/app-id/channels", query=query)

        assert response.json() == {"channels": {"presence-x": {"user_count": 1}}}

    def test_bytes_can_be_exchanged(self, server):
        answer = server.exchange(b"GET /up HTTP/1.1\r\n", b"Host: x\r\n\r\n")

        assert parse_response(answer).status == 200

    def test_stopping_checks_that_no_timer_is_left(self):
        server = MemoryServer()
        server.client().subscribe("news")
        server.clock.callLater(1000, print)

        with pytest.raises(AssertionError, match="timers left"):
            server.stop()

    def test_assert_empty_checks_that_no_session_is_left(self, server):
        server.assert_empty()
        client = server.client()

        with pytest.raises(AssertionError, match="sessions left"):
            server.assert_empty()
        client.vanish()
        server.assert_empty()


class TestMemoryClient:
    def test_a_new_client(self, server):
        client = server.client()

        assert client.handshake.startswith(b"HTTP/1.1 101")
        assert list(server.service.hub.sessions) == [client.socket_id]
        assert (client.close_code, client.close_reason, client.pings) == (None, "", 0)

    def test_a_client_that_is_rejected(self, server):
        client = server.client("no-such-key")

        assert names(client.events) == ["error"]
        assert client.close_code == 4001
        assert client.close_reason
        assert not client.connected

    @pytest.mark.parametrize("message", [{"event": "pusher:ping"}, '{"event":"pusher:ping"}'])
    def test_it_sends_json_text_and_bytes(self, server, message):
        client = server.client()
        client.send(message)
        client.send(msgspec.json.encode({"event": "pusher:ping"}))
        client.send_raw(frame(b'{"event":"pusher:ping"}'))

        assert names(client.take()) == ["pong"] * 3

    @pytest.mark.parametrize("channel", ["news", "private-x", "private-encrypted-x", "cache-x"])
    def test_it_signs_subscriptions_that_need_it(self, server, channel):
        client = server.client()
        client.subscribe(channel)

        assert names(client.take())[0] == "subscription_succeeded"

    def test_it_signs_channel_data(self, server):
        client = server.client()
        client.subscribe("presence-x", channel_data='{"user_id":1}')

        (message,) = client.take()
        assert msgspec.json.decode(message["data"])["presence"]["ids"] == ["1"]

    def test_it_can_sign_as_another_app(self, server):
        client = server.client()
        client.subscribe("private-x", app=OTHER)

        assert names(client.take()) == ["error", "subscription_error"]

    def test_it_signs_in(self, server):
        client = server.client()
        client.sign_in('{"id":"ann"}')

        assert names(client.take()) == ["signin_success"]

    def test_take_returns_the_messages_since_the_last_call(self, server):
        client = server.client()
        client.subscribe("a")
        client.take()
        client.subscribe("b")

        assert [message["channel"] for message in client.take()] == ["b"]
        assert client.take() == []
        assert client.socket_id

    def test_vanish_drops_the_connection(self, server):
        client = server.client()
        client.vanish()

        assert not client.connected
        server.assert_empty()
        client.vanish()

    def test_it_answers_pings(self, server):
        client = server.client()
        server.advance(200)

        assert client.pings > 1
        assert client.connected

    def test_it_can_leave_pings_unanswered(self, server):
        client = server.client()
        client.answers_pings = False
        server.advance(200)

        assert (client.pings, client.close_code) == (1, 4201)
        assert not client.connected

    def test_additional_headers_and_bytes_after_the_request(self, server):
        headers = {"Sec-WebSocket-Protocol": "pusher-channels-protocol-7"}
        client = server.client(headers=headers, after=frame(b'{"event":"pusher:ping"}'))

        assert b"pusher-channels-protocol-7" in client.handshake
        assert names(client.events) == ["connection_established", "pong"]

    def test_another_query(self, server):
        assert server.client(query="protocol=3").close_code == 4007


class TestMemoryConnection:
    def test_it_records_the_messages_sent_to_it(self):
        connection = MemoryConnection("3.4")
        connection.send_batch(FrameBatch([Frame(b"a", None), Frame(b"b", None)]))
        connection.send(b"c")
        connection.close(4200, "why")

        assert connection.socket_id == "3.4"
        assert len(connection.writes) == 2
        assert connection.payloads() == [b"a", b"b", b"c"]
        assert connection.closed == (4200, "why")


class TestHeldBroker:
    def test_release_delivers_the_held_envelopes_in_order(self):
        broker, delivered = HeldBroker(), []
        broker.start(delivered.append)
        for envelope in ENVELOPES:
            broker.publish(envelope)
        assert (broker.held, delivered) == (ENVELOPES, [])
        broker.release()

        assert (broker.held, delivered) == ([], ENVELOPES)
        broker.release()
        assert delivered == ENVELOPES

    def test_an_envelope_published_during_a_release_is_held(self):
        broker = HeldBroker()
        broker.start(broker.publish)
        broker.publish(ENVELOPES[0])
        broker.release()

        assert broker.held == ENVELOPES[:1]

    def test_connected_sets_whether_the_node_is_ready(self):
        broker = HeldBroker()
        server = MemoryServer(service=lambda s, **more: ReverbService(s, broker=broker, **more))
        assert server.request("GET", "/ready", sign=False).status == 200
        broker.connected = False

        assert server.request("GET", "/ready", sign=False).status == 503
        server.stop()

    def test_release_requires_a_started_broker(self):
        broker = HeldBroker()
        broker.publish(ENVELOPES[0])

        with pytest.raises(AssertionError, match="not been started"):
            broker.release()


class TestFrames:
    @settings(deadline=None, max_examples=50, database=None)
    @given(
        st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]),
        st.sampled_from([0, 1, 2, 8, 9, 10]),
        st.binary(max_size=5),
    )
    def test_parse_frame_reverses_frame(self, length, opcode, rest):
        payload = b"x" * length
        data = frame(payload, opcode=opcode, masked=False)

        assert parse_frame(data + rest) == (opcode, payload, rest)
        assert parse_frame(data[:-1]) is None

    def test_the_header_of_a_frame(self):
        assert frame(b"ab", masked=False) == b"\x81\x02ab"
        assert frame(b"ab", masked=False, fin=False, opcode=2, rsv=4) == b"\x42\x02ab"

    def test_the_mask_can_be_undone(self):
        data = frame(b"hello world")

        mask, body = data[2:6], data[6:]
        assert data[:2] == b"\x81\x8b"
        assert bytes(b ^ mask[i % 4] for i, b in enumerate(body)) == b"hello world"

    @pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\x7e\x00", b"\x81\x7f" + b"\0" * 7])
    def test_half_a_header(self, data):
        assert parse_frame(data) is None


class TestRequests:
    def test_an_upgrade_request(self):
        head = upgrade_request("/app/k?protocol=7", {"Origin": "https://a.example"})

        assert head.startswith(b"GET /app/k?protocol=7 HTTP/1.1\r\n")
        assert b"\r\nOrigin: https://a.example\r\n" in head
        assert head.endswith(b"\r\n\r\n")

    def test_a_signed_query(self):
        query = signed_query(APP, "POST", "/apps/1/events", {"a": "1"}, b"{}", 1234.9)

        signature = query.pop("auth_signature")
        text = signing.request_text("POST", "/apps/1/events", query.items())
        assert signature == signing.sign(APP.secret, text)
        assert query == {
            "a": "1",
            "auth_key": "app-key",
            "auth_timestamp": "1234",
            "auth_version": "1.0",
            "body_md5": "99914b932bd37a50b983c5e7c90ae93b",
        }

    def test_a_query_without_a_body_has_no_digest(self):
        assert "body_md5" not in signed_query(APP, "GET", "/", {}, b"", 0)

    def test_a_response(self):
        data = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Y:  z \r\n\r\n{"a":1}more'
        response = parse_response(data)

        assert (response.status, response.body, response.json()) == (200, b'{"a":1}', {"a": 1})
        assert response.headers == {"content-length": "7", "x-y": "z"}

    def test_a_response_without_a_length(self):
        assert parse_response(b"HTTP/1.1 404 Not Found\r\n\r\ngone").body == b"gone"
