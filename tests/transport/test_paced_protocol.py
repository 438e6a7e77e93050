"""One client cannot slow the others down: turns, the rate limit, and the time of a message."""

from contextlib import suppress

import msgspec
import pytest

from reverb.testing import APP, frame, upgrade_request
from reverb.transport.paced_protocol import MESSAGE_TIMEOUT
from tests.support.memory_servers import connections_of

from .conftest import FULL_AFTER

PING = frame(b'{"event":"pusher:ping","data":{}}')
PONG = b'"pusher:pong"'
WS_PING = frame(b"", opcode=9)
WS_PONG = frame(b"", opcode=10)
FRAGMENTS = (
    frame(b'{"event":', fin=False)
    + frame(b"", opcode=0, fin=False)
    + frame(b'"pusher:ping"}', opcode=0)
)


def limited(make_server, per_second, **settings):
    return make_server(msgspec.structs.replace(APP, messages_per_second=per_second, **settings))


def without_pings(make_server):
    """Make a server whose pings the client of the tests does not answer amid a frame."""
    return make_server(msgspec.structs.replace(APP, ping_interval=600))


def deliver(connection, data):
    """Deliver data as the transport does, without letting the reactor turn."""
    connection.dataReceived(data)


def events(client):
    return [event["event"] for event in client.take()]


class TestTurns:
    @pytest.mark.parametrize(
        "data", [PING, WS_PONG, WS_PING, FRAGMENTS, frame(b""), frame(b"[]") + FRAGMENTS]
    )
    def test_a_turn_handles_a_bounded_number_of_frames(self, make_server, data):
        server = limited(make_server, 0)
        server.client()
        (connection,) = connections_of(server)
        count = []
        read_frames = connection.read_frames
        connection.read_frames = lambda *a: count.append(read_frames(*a)) or count[-1]
        deliver(connection, data * (60_000 // len(data)))
        ((frames, _),) = count
        assert frames <= 32
        assert connection.transport._paused
        server.settle()
        assert not connection.transport._paused
        assert not connection.is_behind
        assert all(frames <= 32 for frames, _ in count)
        del connection.read_frames

    def test_a_turn_reads_a_bounded_number_of_bytes(self, make_server):
        server = limited(make_server, 0, max_message_bytes=0)
        client = server.client()
        (connection,) = connections_of(server)
        large = frame(b'{"event":"pusher:ping","data":"' + b"x" * 20_000 + b'"}')
        deliver(connection, large * 4)
        assert 0 < len(connection._unread) < 3 * len(large)
        server.settle()
        assert events(client) == ["pusher:pong"] * 4

    def test_other_clients_are_served_between_the_turns(self, make_server, real):
        server = limited(make_server, 0)
        flooder, other = real(server), real(server)
        for client in (flooder, other):
            client.connect()
        (connection,) = (c for c in connections_of(server) if c.transport is flooder.transport)
        deliver(connection, PING * 1_500)
        other.socket.sendall(PING)
        # One turn: the calls that are due, then the sockets that are ready.
        other.transport.doRead()
        assert PONG in other.socket.recv(1_000)
        assert connection.is_behind
        flooder.turn()

    def test_all_messages_are_answered_in_order(self, make_server):
        server = limited(make_server, 0)
        client = server.client()
        data = b""
        for number in range(100):
            data += frame(b'{"event":"pusher:subscribe","data":{"channel":"c%d"}}' % number)
            data += FRAGMENTS
        client.send_raw(data)
        names = events(client)
        assert names == ["pusher_internal:subscription_succeeded", "pusher:pong"] * 100

    def test_frames_behind_the_handshake_have_turns_too(self, make_server):
        server = limited(make_server, 0)
        extra = {"X": "y" * 10, "Sec-WebSocket-Protocol": "unknown"}
        client = server.client(headers=extra, after=PING * 1_000)
        assert events(client) == ["pusher:pong"] * 1_000

    def test_a_close_frame_behind_a_flood_is_answered(self, make_server):
        client = limited(make_server, 0).client()
        client.send_raw(PING * 1_000 + frame(b"\x03\xe8", opcode=8))
        assert client.close_code == 1000
        assert events(client).count("pusher:pong") == 1_000

    def test_nothing_is_left_of_a_client_that_vanishes_in_a_flood(self, make_server, real):
        server = limited(make_server, 0)
        client = real(server)
        client.connect()
        (connection,) = connections_of(server)
        deliver(connection, PING * 1_500)
        client.close()
        assert not connection.is_behind
        server.settle()
        server.service._websockets.connection_log.flush()
        assert len(server.clock.getDelayedCalls()) == 1  # Only the one-second timer is left.


class TestRateLimit:
    def test_a_client_within_the_limit_is_not_disturbed(self, make_server):
        server = limited(make_server, 10)
        client = server.client()
        for _ in range(30):
            client.send_raw(PING * 10)
            server.advance(1)
        assert events(client) == ["pusher:pong"] * 300

    @pytest.mark.parametrize("data", [PING, WS_PING, WS_PONG, FRAGMENTS, frame(b"x")])
    def test_every_kind_of_frame_counts(self, make_server, data):
        server = limited(make_server, 10)
        client = server.client()
        client.send_raw(data * 20)
        (error,) = (e for e in client.take() if e.get("data", {}) and "messages_per" in str(e))
        assert error["event"] == "pusher:error"
        assert error["data"]["code"] == 4301
        assert error["data"]["message"] == (
            "Rate limit exceeded: messages_per_second is 10 for one connection; further messages "
            "are handled more slowly"
        )

    def test_what_exceeds_the_limit_is_handled_in_the_next_seconds(self, make_server):
        server = limited(make_server, 10)
        client = server.client()
        client.take()
        client.send_raw(PING * 35)
        for expected in (["pusher:pong"] * 10 + ["pusher:error"], *[["pusher:pong"] * 10] * 2):
            assert events(client) == expected
            server.advance(1)
        assert events(client) == ["pusher:pong"] * 5
        assert client.connected

    def test_nothing_is_read_beyond_the_limit(self, make_server, real):
        server = limited(make_server, 10)
        client = real(server)
        client.connect()
        (connection,) = connections_of(server)
        client.send(PING * 1_000)
        kept = len(connection._unread)
        assert 0 < kept <= 65_536
        assert client.transport not in server.clock.getReaders()
        client.send(PING * 1_000)
        assert len(connection._unread) == kept

    def test_a_client_that_persists_is_closed_with_4100(self, make_server):
        server = limited(make_server, 10)
        client = server.client()
        client.send_raw(PING * 1_000)
        server.advance(9)
        assert client.connected
        server.advance(2)
        assert client.close_code == 4100
        assert "messages_per_second is 10" in client.close_reason
        names = events(client)
        assert names.count("pusher:pong") == 110
        assert names.count("pusher:error") == 2

    def test_a_client_that_slows_down_gets_another_chance(self, make_server):
        server = limited(make_server, 10)
        client = server.client()
        for _ in range(20):
            client.send_raw(PING * 40)
            server.advance(6)
        assert client.connected
        assert events(client).count("pusher:error") == 20

    def test_a_held_client_is_not_closed_as_silent(self, make_server):
        server = limited(make_server, 1, ping_interval=3, pong_timeout=2)
        client = server.client()
        client.send_raw(PING * 9)
        server.advance(9)
        assert client.connected
        assert client.pings <= 1

    def test_the_error_is_counted(self, make_server):
        server = limited(make_server, 10)
        server.client().send_raw(PING * 11)
        meter = server.service._meter.apps[APP.id]
        assert meter.limit_hits == {"messages_per_second": 1}

    def test_zero_is_no_limit(self, make_server):
        client = limited(make_server, 0).client()
        client.send_raw(PING * 10_000)
        assert events(client) == ["pusher:pong"] * 10_000

    def test_a_rejected_client_has_no_limit_but_turns(self, make_server):
        server = limited(make_server, 1)
        client = server.client(key="wrong", after=PING * 500)
        assert client.close_code == 4001
        assert not client.connected

    @pytest.mark.parametrize(
        ("all_messages", "client_events", "named"),
        [(5, 100, "messages_per_second is 5"), (100, 5, "client_events_per_second is 5")],
    )
    def test_client_events_count_against_both_limits(
        self, make_server, all_messages, client_events, named
    ):
        server = limited(
            make_server, all_messages, client_events_per_second=client_events, client_events="all"
        )
        client = server.client()
        client.subscribe("news")
        client.take()
        server.advance(1)
        event = frame(b'{"event":"client-x","channel":"news","data":"1"}')
        client.send_raw(event * 6)
        (error,) = client.take()
        assert error["data"]["code"] == 4301
        assert named in error["data"]["message"]


class TestAnswersThatWait:
    def test_no_message_is_handled_while_answers_wait(self, make_server, real):
        server = limited(make_server, 0)
        client = real(server, small=True)
        client.connect()
        (connection,) = connections_of(server)
        client.socket.settimeout(FULL_AFTER)
        with suppress(TimeoutError):
            for _ in range(3_000):
                client.socket.send(frame(b"x" * 400) * 10)
                client.turn()
        queued = len(client.transport.dataBuffer) + client.transport._tempDataLen
        assert queued < 200_000
        assert len(connection._unread) <= 65_536
        client.socket.settimeout(5)
        # The client reads: all messages are handled, and the connection works.
        for _ in range(10_000):
            if not (connection.is_behind or client.transport.dataBuffer):
                break
            client.read()
        assert not connection.is_behind
        assert connection.state == connection.STATE_OPEN

    def test_a_client_that_reads_nothing_is_closed_with_4100(self, make_server, real, log):
        server = limited(make_server, 0)
        client = real(server, small=True)
        client.connect()
        client.socket.sendall(frame(b"x") * 5_000)
        client.turn()
        client.advance(30)
        assert not connections_of(server)
        (line,) = log.lines("disconnected ")
        assert "4100 Connection too slow: fewer than 1000 bytes/s were read for 20 s" in line
        assert server.service._meter.apps[APP.id].slow_clients == 1

    def test_a_slow_client_that_is_closing_already_is_counted_once(self, make_server, real):
        server = limited(make_server, 0)
        client = real(server, small=True)
        client.connect()
        (connection,) = connections_of(server)
        connection.too_slow("its queue is full")
        connection.too_slow("it reads too few bytes")
        assert server.service._meter.apps[APP.id].slow_clients == 1

    @pytest.mark.parametrize("limits", [{}, {"slow_client_bytes_per_second": 0}])
    def test_a_phone_that_reads_steadily_receives_a_large_message(self, make_server, real, limits):
        server = make_server(max_buffered_bytes=10_000, **limits)
        client = real(server, small=True)
        client.connect()
        client.send(frame(b'{"event":"pusher:subscribe","data":{"channel":"news"}}'))
        client.read_until(b"subscription_succeeded")
        app = msgspec.structs.replace(server.app, max_event_bytes=0)
        server.service.publish(app, ["news"], "large", "x" * 1_000_000)
        client.turn()
        received = 0
        for _ in range(100):
            received += len(client.socket.recv(3_000))
            client.advance(1)
        assert received < 400_000
        client.read_until(b'xxx"}')
        client.send(PING)
        client.read_until(PONG)


class TestUnfinishedMessages:
    @pytest.mark.parametrize(
        "begin",
        [
            frame(b'{"event":', fin=False),
            frame(b'{"event":', fin=False) + frame(b'"x', opcode=0, fin=False),
            PING[:20],
            PING[:4],
            PING[:1],
            frame(b"ping", opcode=9)[:8],
        ],
    )
    def test_a_message_must_be_finished_in_time(self, make_server, begin):
        server = without_pings(make_server)
        client = server.client()
        client.send_raw(PING + begin)
        server.advance(MESSAGE_TIMEOUT)
        assert client.close_code is None
        server.advance(2)
        assert client.close_code == 1008
        assert client.close_reason == "A message was not finished within 60 seconds"

    @pytest.mark.parametrize("data", [FRAGMENTS, PING, frame(b"ping", opcode=9)])
    @pytest.mark.parametrize("split", [1, 8, 20])
    def test_each_message_has_a_time_of_its_own(self, make_server, data, split):
        """At each moment a message is unfinished, but none for long."""
        split = min(split, len(data) - 1)
        server = without_pings(make_server)
        client = server.client()
        client.send_raw(data[:split])
        for _ in range(5):
            server.advance(MESSAGE_TIMEOUT // 2)
            client.send_raw(data[split:] + data[:split])
        server.advance(MESSAGE_TIMEOUT - 2)
        assert client.connected
        server.advance(4)
        assert client.close_code == 1008

    def test_other_traffic_does_not_extend_the_time(self, make_server):
        server = make_server()
        client = server.client()
        client.send_raw(frame(b"{", fin=False))
        for _ in range(MESSAGE_TIMEOUT // 10 + 1):
            server.advance(10)
            client.send_raw(WS_PING)
            client.send_raw(frame(b" ", opcode=0, fin=False))
        assert client.close_code == 1008

    def test_a_finished_message_leaves_no_deadline(self, make_server):
        server = make_server()
        client = server.client()
        before = server.service.sizes()["timeouts"]
        for data in (FRAGMENTS, PING, WS_PING):
            client.send_raw(data[:5])
            assert server.service.sizes()["timeouts"] == before + 1
            client.send_raw(data[5:])
            assert server.service.sizes()["timeouts"] == before
        client.send_raw(FRAGMENTS[:5])
        client.vanish()
        assert server.service.sizes()["timeouts"] == 0


class TestFragments:
    def split(self, count, payload=b" "):
        middle = frame(payload, opcode=0, fin=False) * count
        return frame(b"{", fin=False) + middle + frame(b'"event":"pusher:ping"}', opcode=0)

    def test_sixteen_empty_fragments_are_allowed(self, make_server):
        client = make_server().client()
        client.send_raw(self.split(16, b""))
        assert events(client) == ["pusher:pong"]
        client.send_raw(self.split(16, b""))
        assert events(client) == ["pusher:pong"]

    def test_more_empty_fragments_close_the_connection(self, make_server):
        client = make_server().client()
        client.send_raw(self.split(17, b""))
        assert client.close_code == 1008
        assert client.close_reason == "More than 16 empty fragments in a message"
        assert not client.connected

    def test_the_number_of_fragments_is_not_limited(self, make_server):
        server = limited(make_server, 0, max_message_bytes=0)
        client = server.client()
        client.send_raw(self.split(10_000))
        assert events(client) == ["pusher:pong"]

    @pytest.mark.parametrize("fragmented", [True, False])
    def test_only_the_bytes_of_a_message_take_memory(self, make_server, fragmented):
        server = limited(make_server, 0)
        client = server.client()
        (connection,) = connections_of(server)
        data = self.split(5_000) if fragmented else frame(b"x" * 5_000)[:-100]
        for start in range(0, len(data) - 1_000, 2):
            connection.dataReceived(data[start : start + 2])
        kept = connection.message_data
        assert isinstance(kept, bytearray)
        assert 3_000 < len(kept) < 5_100
        assert not connection.frame_data
        client.vanish()


def test_an_upgrade_without_the_fast_path_is_paced(make_server, wire):
    server = limited(make_server, 0)
    client = wire(server)
    head = upgrade_request("/app/app-key?protocol=7", {"Upgrade": "websocket"})
    client.send(head + PING * 500)
    assert client.take().count(PONG) == 500
