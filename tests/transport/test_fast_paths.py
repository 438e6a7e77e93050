"""The fast paths and the complete parsers give the same answers to the same bytes.

Each input is sent to two servers. In the second one the fast paths are disabled, so that
twisted.web and Autobahn parse everything.
"""

import re
from unittest import mock

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reverb.testing import APP, MemoryServer, frame, signed_query
from reverb.testing.server import NOW
from tests.support.examples import examples
from tests.support.wire import Wire

PATH = "/apps/app-id/events"
BODY = b'{"name":"e","channel":"news","data":"x"}'

bounded = settings(
    max_examples=examples(150),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


QUERY = "&".join(
    f"{name}={value}" for name, value in signed_query(APP, "POST", PATH, {}, BODY, NOW).items()
)
POST = f"POST {PATH}?{QUERY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
POST += BODY
UPGRADE = (
    b"GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nOrigin: https://example.com\r\n\r\n"
)
PING = frame(b'{"event":"pusher:ping","data":{}}')
SUBSCRIBE = frame(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')

# Bytes that are inserted into well-formed input, or that replace a part of it.
noise = st.sampled_from(
    [
        b"",
        b"\r\n",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"\x00",
        b"\x85",
        b"\xff",
        b"%2F",
        b"#",
        b"?",
        b"/",
        b"close",
        b"chunked",
        b"X-A: b\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 41\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
) | st.binary(max_size=2)
edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), noise), max_size=2)
cuts = st.lists(st.integers(0, 400), max_size=2)


def edited(data, edits):
    for position, length, text in edits:
        position %= len(data) + 1  # noqa: PLW2901
        data = data[:position] + text + data[position + length :]
    return data


def line_ends(data):
    """Return the positions of the ends of lines, where edits matter most."""
    return [match.end() for match in re.finditer(rb"\r\n", data)]


def outcome(server, data, cuts):
    """Send data in segments; return the answer, whether the connection ended, and all events."""
    subscriber = server.client()
    subscriber.subscribe("news")
    subscriber.take()
    wire = Wire(server)
    positions = sorted({cut % (len(data) + 1) for cut in cuts})
    segments = [data[a:b] for a, b in zip([0, *positions], [*positions, len(data)], strict=True)]
    for segment in segments:
        if not (wire.ended or wire.transport.aborted):
            wire.send(segment)
    wire.advance(5)
    answer, ended = wire.take(), wire.ended
    wire.vanish()
    events = [(event["event"], event["data"]) for event in subscriber.take()]
    subscriber.vanish()
    return normalized(answer), ended, events


def normalized(answer):
    """Remove differences that have no meaning."""
    answer = re.sub(rb"\r\n(Server|Date|Upgrade): [^\r]*", b"", answer)
    answer = re.sub(rb"\x88.(..).*", rb"close \1", answer, flags=re.DOTALL)  # no reason text
    return re.sub(rb'socket_id\\":\\"[0-9.]+', b"", re.sub(rb"\x81.(?=\{.event)", b"text ", answer))


def compare(data, cuts, *, compression):
    fast, complete = [MemoryServer(compression=compression) for _ in range(2)]
    answer = outcome(fast, data, cuts)
    with (
        mock.patch("reverb.transport.http.parse_fast_request", return_value=None),
        mock.patch("reverb.transport.multiplexer.parse_fast_upgrade", return_value=None),
        mock.patch("reverb.transport.rfc6455.parse_text_frame", return_value=None),
        mock.patch("reverb.transport.rfc6455.is_empty_pong", return_value=False),
    ):
        assert outcome(complete, data, cuts) == answer
    for server in (fast, complete):
        server.stop()


def at_line_ends(data, edits):
    ends = line_ends(data)
    return [(ends[position % len(ends)], length, text) for position, length, text in edits]


@bounded
@given(edits, cuts, st.booleans())
@example([], [], False)
@example([], [200, 260], False)
def test_requests(edits, cuts, at_lines):
    data = POST
    where = at_line_ends(data, edits) if at_lines else edits
    compare(edited(data, where), cuts, compression=False)


@bounded
@given(edits, cuts, st.booleans(), st.booleans())
@example([], [], False, True)
@example([], [20, 30], False, False)
@example([(1, 0, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")], [], True, True)
def test_upgrades_and_the_frames_after_them(edits, cuts, at_lines, compression):
    data = UPGRADE + SUBSCRIBE + PING
    where = at_line_ends(data, edits) if at_lines else edits
    compare(edited(data, where), cuts, compression=compression)


@bounded
@given(
    st.lists(
        st.sampled_from(
            [
                PING,
                SUBSCRIBE,
                frame(b"not json"),
                frame(b""),
                frame(b"\xff\xfe"),
                frame(b"x" * 125),
                frame(b"x" * 126),
                frame(b"x" * 20_000),
                frame(b"x", opcode=9),
                frame(b"", opcode=10),
                frame(b"x", opcode=2),
                frame(b"\x03\xe8", opcode=8),
            ]
        ),
        max_size=6,
    ),
    edits,
    cuts,
    st.booleans(),
)
def test_frames(frames, edits, cuts, compression):
    data = UPGRADE + edited(b"".join(frames), edits)
    compare(data, [len(UPGRADE) + cut for cut in cuts], compression=compression)
