"""Valid and invalid frames (RFC 6455), and the ends of connections."""

from itertools import pairwise

import msgspec
import pytest

from reverb.testing import APP, frame, upgrade_request
from tests.support.memory_servers import connections_of

PING = b'{"event":"pusher:ping","data":{}}'
SUBSCRIBE = frame(b'{"event":"pusher:subscribe","data":{"channel":"late"}}')


def app_with(**changes):
    return msgspec.structs.replace(APP, **changes)


def close_each(server, reason):
    for session in server.service.hub.sessions.values():
        session.connection.close(4200, reason)


def names(client):
    return [event["event"] for event in client.take()]


@pytest.fixture
def client(server):
    client = server.client()
    client.take()
    return client


def fragments(payload, *cuts):
    """Encode a message as several frames, split at the given indexes."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[a:b] for a, b in pairwise(edges)]
    last = len(parts) - 1
    return b"".join(
        frame(part, opcode=0 if i else 1, fin=i == last) for i, part in enumerate(parts)
    )


def test_fragments_are_one_message(client):
    client.send_raw(fragments(PING, 3, 3, 10))
    assert names(client) == ["pusher:pong"]


def test_a_ping_may_be_sent_between_fragments(server):
    client = server.client()
    first, second = frame(PING[:5], fin=False), frame(PING[5:], opcode=0)
    client.send_raw(first + frame(b"now", opcode=9) + second)
    assert client.events[-1]["event"] == "pusher:pong"


def test_frames_may_be_split_into_segments_anywhere(client):
    data = fragments(PING, 7) + frame(b"", opcode=9) + frame(PING)
    for i in range(len(data)):
        client.send_raw(data[i : i + 1])
    assert names(client) == ["pusher:pong"] * 2


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
def test_a_websocket_ping_is_answered_with_its_payload(server, wire, payload):
    wire = wire()
    wire.send(upgrade_request("/app/app-key?protocol=7"))
    wire.take()
    wire.send(frame(payload, opcode=9))
    assert wire.take() == bytes([0x8A, len(payload)]) + payload


def test_an_unsolicited_pong_is_ignored(client):
    client.send_raw(frame(b"x", opcode=10) + frame(PING))
    assert names(client) == ["pusher:pong"]


VIOLATIONS = {
    "binary": (1003, frame(b"{}", opcode=2)),
    "empty binary": (1003, frame(b"", opcode=2)),
    "first fragment of binary": (1003, frame(b"{}", opcode=2, fin=False)),
    "unmasked": (1002, frame(PING, masked=False)),
    "bad UTF-8": (1007, frame(b'{"event":"\xff"}')),
    "surrogate in UTF-8": (1007, frame(b"\xed\xa0\x80")),
    "overlong UTF-8": (1007, frame(b"\xc0\xaf")),
    "unfinished UTF-8": (1007, frame(b"\xc3")),
    "bad UTF-8 over fragments": (1007, frame(b"\xf0\x9f", fin=False) + frame(b"\x41", opcode=0)),
    "unfinished UTF-8 over fragments": (
        1007,
        frame(b"a", fin=False) + frame(b"\xe2\x82", opcode=0),
    ),
    "reserved opcode 3": (1002, frame(b"", opcode=3)),
    "reserved opcode 7": (1002, frame(b"", opcode=7)),
    "reserved control opcode": (1002, frame(b"", opcode=11)),
    "RSV1": (1002, frame(PING, rsv=4)),
    "RSV2": (1002, frame(PING, rsv=2)),
    "RSV3": (1002, frame(PING, rsv=1)),
    "fragmented ping": (1002, frame(b"", opcode=9, fin=False)),
    "long ping": (1002, frame(b"x" * 126, opcode=9)),
    "continuation without a message": (1002, frame(b"x", opcode=0)),
    "text inside a fragmented message": (1002, frame(b"a", fin=False) + frame(b"b")),
    "length not in its shortest form": (1002, b"\x81\xfe\x00\x01\x00\x00\x00\x00x"),
    "length with the top bit": (1002, b"\x81\xff" + b"\xff" * 8 + bytes(4)),
    "close code 999": (1002, frame((999).to_bytes(2), opcode=8)),
    "close code 1005": (1002, frame((1005).to_bytes(2), opcode=8)),
    "close code 5000": (1002, frame((5000).to_bytes(2), opcode=8)),
    "close of one byte": (1002, frame(b"\x03", opcode=8)),
    "close with bad UTF-8": (1007, frame(b"\x03\xe8\xff", opcode=8)),
    "long close": (1002, frame(b"\x03\xe8" + b"x" * 124, opcode=8)),
    "far too large": (1009, frame(b"x" * 102_401)),
    "far too large according to its header": (1009, frame(b"x" * 102_401)[:14]),
    "far too large in fragments": (
        1009,
        frame(b"x" * 60_000, fin=False) + frame(b"x" * 60_000, opcode=0),
    ),
    "far too large in many fragments": (
        1009,
        frame(b"x" * 20_000, fin=False) + frame(b"x" * 20_000, opcode=0, fin=False) * 9,
    ),
}


@pytest.mark.parametrize("in_one_segment", [True, False])
@pytest.mark.parametrize(("code", "data"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation_closes_and_later_messages_are_ignored(server, code, data, in_one_segment):
    client = server.client()
    client.answers_close = False
    if in_one_segment:
        client.send_raw(data + SUBSCRIBE)
    else:
        client.send_raw(data)
        client.send_raw(SUBSCRIBE)
    assert client.close_code == code
    assert client.close_reason
    assert len(client.close_reason.encode()) <= 123
    assert len(client.events) == 1
    assert not server.service.hub.channels
    server.advance(4)
    assert not client.connected
    server.assert_empty()


def test_a_character_may_be_split_across_fragments(client):
    message = '{"event":"pusher:ping","x":"€😀"}'.encode()
    for cut in range(27, len(message)):
        client.send_raw(fragments(message, cut))
    assert set(names(client)) == {"pusher:pong"}


def padded(size):
    return b'{"event":"pusher:ping","data":"' + b"x" * (size - 33) + b'"}'


@pytest.mark.parametrize("max_bytes", [50, 126, 10_240, 70_000])
def test_the_maximum_message_size_is_the_apps(make_server, max_bytes):
    server = make_server(app_with(max_message_bytes=max_bytes))
    client = server.client()
    assert len(padded(max_bytes)) == max_bytes
    client.send(padded(max_bytes))
    client.send_raw(fragments(padded(max_bytes), max_bytes // 2))
    assert names(client) == ["pusher:pong"] * 2
    client.send(padded(max_bytes + 1))
    client.send_raw(fragments(padded(max_bytes + 1), max_bytes // 2))
    assert [event["data"] for event in client.events[1:]] == [refusal(max_bytes + 1, max_bytes)] * 2
    client.send(padded(max_bytes))
    assert client.events[-1]["event"] == "pusher:pong"


def refusal(size, limit):
    message = f"Message too large: {size} bytes, of at most {limit} (max_message_bytes)"
    return {"code": None, "message": message}


@pytest.mark.parametrize(("limit", "hard"), [(500, 5_000), (200_000, 200_000 + 1_048_576)])
def test_above_the_hard_limit_the_connection_is_closed(make_server, limit, hard):
    server = make_server(app_with(max_message_bytes=limit))
    client = server.client()
    client.send(padded(hard))
    client.send_raw(fragments(padded(hard), hard // 2))
    assert [event["data"] for event in client.events[1:]] == [refusal(hard, limit)] * 2
    client.send(padded(hard + 1))
    assert client.close_code == 1009
    other = server.client()
    other.send_raw(fragments(padded(hard + 1), hard // 2))
    assert other.close_code == 1009


def test_a_client_event_that_is_too_large_is_answered(server):
    client, other = server.client(), server.client()
    for one in (client, other):
        one.subscribe("private-x")
    event = {"event": "client-e", "channel": "private-x", "data": "x" * 10_241}
    client.send(event)
    assert client.events[-1]["event"] == "pusher:error"
    assert "max_message_bytes" in client.events[-1]["data"]["message"]
    client.send(event | {"data": "small"})
    assert other.events[-1]["data"] == "small"
    assert [event["event"] for event in other.events].count("client-e") == 1


def test_the_bytes_of_a_message_that_is_too_large_are_dropped(server):
    client = server.client()
    (connection,) = connections_of(server)
    whole = frame(b"\xff" * 100_000)
    for start in range(0, len(whole) - 1, 9_000):
        client.send_raw(whole[start : min(start + 9_000, len(whole) - 1)])
        assert not connection.message_data
        assert len(connection.data) < 9_000
    client.send_raw(whole[-1:] + SUBSCRIBE)
    assert client.events[1]["data"] == refusal(100_000, 10_240)
    assert names(client)[1:] == ["pusher_internal:subscription_succeeded"]


def test_a_closing_connection_does_not_answer_a_message_that_is_too_large(server):
    client = server.client()
    client.answers_close = False
    close_each(server, "closing")
    client.send(padded(20_000))
    assert [event["data"]["code"] for event in client.events[1:]] == [4200]


def test_without_a_limit_a_message_of_any_size_is_accepted(make_server):
    client = make_server(app_with(max_message_bytes=0)).client()
    client.send(padded(1_000_000))
    assert names(client) == ["pusher:pong"]


def test_each_app_has_its_own_limit(make_server):
    small = app_with(max_message_bytes=60)
    large = app_with(id="2", key="large", max_message_bytes=500)
    server = make_server(small, large)
    first, second = server.client(), server.client("large")
    first.send(padded(100))
    second.send(padded(100))
    assert first.events[-1]["data"] == refusal(100, 60)
    assert names(second) == ["pusher:pong"]


# Ends of connections


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_close_by_the_client_is_echoed(server, code):
    client = server.client()
    client.subscribe("news")
    client.answers_close = False
    client.send_raw(frame(code.to_bytes(2) + b"bye", opcode=8))
    assert client.close_code == code
    assert not client.connected
    server.assert_empty()


def test_a_close_without_a_code_is_answered(server):
    client = server.client()
    client.answers_close = False
    client.send_raw(frame(b"", opcode=8))
    assert client.close_code is not None
    assert not client.connected


def test_messages_after_a_close_are_ignored(server):
    client = server.client()
    client.answers_close = False
    client.send_raw(frame((1000).to_bytes(2), opcode=8) + SUBSCRIBE + frame(PING))
    assert len(client.events) == 1
    assert not server.service.hub.channels


def test_messages_after_the_servers_close_are_ignored(server):
    client = server.client()
    client.subscribe("news")
    client.take()
    client.answers_close = False
    close_each(server, "bye")
    server.settle()
    assert (client.close_code, client.close_reason) == (4200, "bye")
    client.take()
    client.send_raw(SUBSCRIBE + frame(PING) + frame(b"", opcode=9))
    server.publish("news", "event", "data")
    assert client.take() == []
    assert ("app-id", "late") not in server.service.hub.channels


def test_a_client_that_does_not_answer_the_close_frame_is_aborted(server):
    client = server.client()
    client.answers_close = False
    close_each(server, "bye")
    server.settle()
    server.advance(1)
    assert client.connected
    server.advance(3)
    assert not client.connected


def test_a_client_that_sends_messages_after_the_close_frame_is_aborted(server):
    client = server.client()
    client.answers_close = False
    close_each(server, "bye")
    for _ in range(4):
        server.advance(1)
        client.send(PING)
    assert not client.connected


def test_both_sides_may_close_at_the_same_time(server):
    client = server.client()
    client.answers_close = False
    close_each(server, "bye")
    client.send_raw(frame((1000).to_bytes(2), opcode=8))
    assert not client.connected
    server.assert_empty()


def test_a_second_close_does_nothing(server, log):
    client = server.client()
    client.answers_close = False
    (connection,) = connections_of(server)
    connection.close(4200, "first")
    connection.close(4100, "second")
    server.settle()
    assert [e["data"]["message"] for e in client.take()] == ["first"]
    assert client.close_code == 4200
    client.vanish()
    connection.close(4100, "third")
    connection.send(b"\x81\x00")
    assert log.lines("disconnected ")[0].endswith("4200 first")


@pytest.mark.parametrize("reason", ["", "ä" * 62, "x" * 124, "😀" * 200])
def test_a_close_reason_is_truncated_to_the_size_of_a_close_frame(server, reason):
    client = server.client()
    close_each(server, reason)
    server.settle()
    assert client.events[-1]["data"]["message"] == reason
    assert client.close_code == 4200
    assert reason.startswith(client.close_reason)
    assert len(reason.encode()) - len(client.close_reason.encode()) in range(
        max(len(reason.encode()) - 123, 0), max(len(reason.encode()) - 119, 1)
    )


def test_a_vanished_client_is_removed(server):
    client = server.client()
    client.subscribe("news")
    client.vanish()
    server.assert_empty()
    server.publish("news", "event", "data")
