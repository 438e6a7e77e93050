"""Compression on a connection: the negotiation, and compressed messages (RFC 7692)."""

import re
import resource

import msgspec
import pytest

from reverb.protocol.frames import compressed_text_frame
from reverb.testing import APP, frame, parse_frame, upgrade_request
from tests.support.deflate import deflate
from tests.support.memory_servers import connections_of

RESPONSE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
BROWSER = "permessage-deflate; client_max_window_bits"
PING = b'{"event":"pusher:ping","data":{}}'
COMPRESSED = 4


def compressed(payload, **options):
    return frame(deflate(payload), rsv=COMPRESSED, **options)


def names(client):
    return [event["event"] for event in client.take()]


def answer(client):
    found = re.search(rb"Sec-WebSocket-Extensions: (.*)\r\n", client.handshake)
    return found and found[1].decode()


def connect(server, offer=BROWSER):
    client = server.client(headers={"Sec-WebSocket-Extensions": offer} if offer else {})
    client.take()
    return client


def connection(server):
    (only,) = connections_of(server)
    return only


@pytest.fixture
def server(make_server):
    return make_server(compression=True)


@pytest.fixture
def client(server):
    return connect(server)


class TestTheHandshake:
    def test_the_offer_of_browsers_is_accepted(self, server, client):
        assert answer(client) == RESPONSE
        assert connection(server).compresses

    def test_without_an_offer_there_is_no_compression(self, server):
        assert answer(connect(server, offer=None)) is None
        assert not connection(server).compresses

    def test_it_is_disabled_by_default(self, make_server):
        server = make_server()
        assert answer(connect(server)) is None
        assert not connection(server).compresses

    def test_with_a_small_window_only_the_client_compresses(self, server):
        client = connect(server, "permessage-deflate; server_max_window_bits=9")
        assert answer(client) == f"{RESPONSE}; server_max_window_bits=9"
        assert not connection(server).compresses
        client.send_raw(compressed(PING))
        assert names(client) == ["pusher:pong"]

    @pytest.mark.parametrize("on", [True, False])
    @pytest.mark.parametrize(
        "offer",
        [
            "permessage-deflate; nonsense",
            "permessage-deflate; server_max_window_bits=8; server_max_window_bits=9",
            "permessage-deflate; client_max_window_bits=99",
            "x-webkit-deflate-frame",
            ",;,=",
        ],
    )
    def test_an_invalid_offer_is_declined(self, make_server, offer, on):
        server = make_server(compression=on)
        client = connect(server, offer)
        assert answer(client) is None
        client.send(PING)
        assert names(client) == ["pusher:pong"]

    def test_the_response_has_the_subprotocol_as_well(self, server):
        headers = {
            "Sec-WebSocket-Extensions": BROWSER,
            "Sec-WebSocket-Protocol": "pusher-channels-protocol-7",
        }
        client = server.client(headers=headers)
        assert answer(client) == RESPONSE
        assert b"Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\n" in client.handshake

    def test_a_message_may_follow_in_the_segment_of_the_upgrade(self, server):
        client = server.client(
            headers={"Sec-WebSocket-Extensions": BROWSER}, after=compressed(PING)
        )
        assert names(client) == ["pusher:pong"]

    def test_an_open_connection_has_two_more_attributes(self, server, make_server):
        connect(server)
        plain = make_server()
        connect(plain)
        more = set(vars(connection(server))) - set(vars(connection(plain)))
        assert more == {"_perMessageCompress", "compresses"}

    def test_connections_share_the_replacement_of_autobahns_inflater(self, server):
        connect(server)
        connect(server)
        assert len({c._perMessageCompress for c in connections_of(server)}) == 1


class TestMessages:
    def test_a_compressed_message_is_handled(self, client):
        client.send_raw(compressed(PING))
        assert names(client) == ["pusher:pong"]

    def test_compressed_and_plain_messages_are_handled_in_order(self, server, client):
        subscribe = b'{"event":"pusher:subscribe","data":{"channel":"news"}}'
        client.send_raw(frame(subscribe) + compressed(PING) + frame(PING) + compressed(PING))
        assert names(client) == ["pusher_internal:subscription_succeeded", *["pusher:pong"] * 3]

    def test_messages_are_inflated_independently(self, client):
        # The same bytes each time, as a client sends them without context takeover.
        for _ in range(3):
            client.send_raw(compressed(PING))
        assert names(client) == ["pusher:pong"] * 3

    def test_a_compressed_message_may_be_fragmented(self, client):
        data = deflate(PING)
        for index in range(len(data) + 1):
            first = frame(data[:index], fin=False, rsv=COMPRESSED)
            client.send_raw(first + frame(b"", opcode=9) + frame(data[index:], opcode=0))
        assert names(client) == ["pusher:pong"] * (len(data) + 1)

    def test_a_compressed_message_may_be_split_into_segments_anywhere(self, client):
        for byte in compressed(PING) + frame(PING):
            client.send_raw(bytes([byte]))
        assert names(client) == ["pusher:pong"] * 2

    def test_a_character_may_be_split_across_fragments(self, client):
        data = deflate('{"event":"pusher:ping","x":"€😀"}'.encode(), level=0)
        for index in range(len(data)):
            client.send_raw(
                frame(data[:index], fin=False, rsv=COMPRESSED) + frame(data[index:], opcode=0)
            )
        assert names(client) == ["pusher:pong"] * len(data)


def padded(size):
    return b'{"event":"pusher:ping","data":"' + b"x" * (size - 33) + b'"}'


VIOLATIONS = {
    "binary": (1003, compressed(b"{}", opcode=2)),
    "no deflate": (1007, frame(b"\xff\xff", rsv=COMPRESSED)),
    "no data": (1007, frame(b"", rsv=COMPRESSED)),
    "truncated": (1007, frame(deflate(PING)[:-4], rsv=COMPRESSED)),
    "invalid UTF-8": (1007, compressed(b'"\xff"')),
    "invalid UTF-8 at the end": (1007, compressed('"€"'.encode()[:-2])),
    "far too large": (1009, compressed(padded(102_401))),
    "far too large before inflation": (1009, frame(bytes(102_401), rsv=COMPRESSED)),
    "a bomb": (1009, compressed(bytes(9_000_000))),
    "a compressed ping": (1002, frame(b"", opcode=9, rsv=COMPRESSED)),
    "a compressed continuation": (
        1002,
        frame(b"", fin=False, rsv=COMPRESSED) + frame(b"", opcode=0, rsv=COMPRESSED),
    ),
    "only the continuation compressed": (
        1002,
        frame(b"", fin=False) + frame(deflate(PING), opcode=0, rsv=COMPRESSED),
    ),
    "another reserved bit": (1002, frame(deflate(PING), rsv=COMPRESSED | 1)),
}


class TestViolations:
    @pytest.mark.parametrize("in_one_segment", [True, False])
    @pytest.mark.parametrize(("code", "data"), VIOLATIONS.values(), ids=VIOLATIONS)
    def test_it_closes_and_later_messages_are_ignored(
        self, server, client, code, data, in_one_segment
    ):
        after = compressed(PING) + frame(PING)
        for segment in [data + after] if in_one_segment else [data, after]:
            client.send_raw(segment)
        assert client.close_code == code
        assert client.close_reason
        assert names(client) == []
        assert not client.connected
        server.assert_empty()

    @pytest.mark.parametrize("offer", [None, "permessage-deflate; nonsense"])
    def test_a_compressed_message_without_negotiation(self, server, offer):
        client = connect(server, offer)
        client.send_raw(compressed(PING))
        assert client.close_code == 1002
        assert not names(client)

    def test_the_limit_is_the_apps_own(self, make_server):
        app = msgspec.structs.replace(APP, max_message_bytes=500)
        server = make_server(app, compression=True)
        client = connect(server)
        client.send_raw(compressed(padded(500)))
        assert names(client) == ["pusher:pong"]
        client.send_raw(compressed(padded(501)))
        client.send_raw(frame(bytes(501), rsv=COMPRESSED))
        assert [event["data"]["message"] for event in client.events[1:]] == [
            "Message too large: 501 bytes, of at most 500 (max_message_bytes)"
        ] * 2
        client.send_raw(compressed(padded(5001)))
        assert (client.close_code, client.close_reason) == (
            1009,
            "the message inflates to more than 5000 bytes",
        )

    def test_without_a_limit_a_message_of_any_size_is_accepted(self, make_server):
        app = msgspec.structs.replace(APP, max_message_bytes=0)
        client = connect(make_server(app, compression=True))
        client.send_raw(compressed(padded(1_000_000)))
        assert names(client) == ["pusher:pong"]

    def test_compression_bombs_use_little_memory(self, server):
        # Each would inflate to 10 MB.
        bomb = compressed(bytes(10_000_000))
        assert len(bomb) < 10_240
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(50):
            client = connect(server)
            client.send_raw(bomb)
            assert client.close_code == 1009
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 5_000


def test_a_shared_frame_is_sent_unchanged(server, wire):
    wire = wire()
    wire.send(upgrade_request("/app/app-key?protocol=7", {"Sec-WebSocket-Extensions": BROWSER}))
    wire.take()
    shared = compressed_text_frame(PING)
    connection(server).outbox.send(shared)
    wire.settle()
    assert wire.take() == shared
    assert parse_frame(shared)[1] == shared[2:]
