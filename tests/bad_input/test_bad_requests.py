"""Random and mutated HTTP requests, sent to a server that has another client."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reverb.testing import APP, NOW, signed_query, upgrade_request
from tests.support.examples import examples
from tests.support.wire import Wire

FIXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
channel = st.sampled_from(
    ["olds", "private-a", "presence-a", "cache-a", "#server-to-user-u", "", "a b"]
)
event = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["e", "", "pusher:x"]) | anything,
        "data": anything,
        "channel": channel | anything,
        "channels": st.lists(channel | anything, max_size=3) | anything,
        "socket_id": st.sampled_from(["1.1", "x", ""]) | anything,
        "info": st.sampled_from(["user_count", "subscription_count,user_count", "cache", ","])
        | anything,
    },
)
body = (
    st.one_of(
        event, st.fixed_dictionaries({"batch": st.lists(event, max_size=3) | anything}), anything
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
) | st.binary(max_size=60)
path = st.sampled_from(
    [
        "/apps/app-id/events",
        "/apps/app-id/events",
        "/apps/app-id/batch_events",
        "/apps/app-id/channels",
        "/apps/app-id/channels/olds",
        "/apps/app-id/channels/presence-a/users",
        "/apps/app-id/channels/%23x",
        "/apps/app-id/channels/cache-a",
        "/apps/app-id/channels/olds/events",
        "/apps/app-id/channels/olds/stats",
        "/apps/app-id/connections",
        "/apps/app-id/users/u/terminate_connections",
        "/users/u/terminate_connections",
        "/users/%FF/terminate_connections",
        "/apps/%00",
        "/up",
        "/ready",
        "/app/app-key",
        "/",
        "//",
        "*",
        "/%",
        "/apps//events",
    ]
)
query = st.dictionaries(
    st.sampled_from(
        [
            "info",
            "filter_by_prefix",
            "name",
            "data",
            "channel",
            "channels[]",
            "channels[0]",
            "[",
            "auth_key",
            "socket_id",
        ]
    ),
    st.sampled_from(
        ["user_count", "presence-", "olds", "1.1", "%", "%FF", "%00", "+", "a=b", "", ";", "cache"]
    ),
    max_size=4,
)
method = st.sampled_from(["GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "X"])
header = st.sampled_from(
    [
        b"Host: x",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"Content-Type: multipart/form-data; boundary=x",
        b"Content-Type: \xff",
        b"Accept-Encoding: gzip",
        b"Content-Encoding: gzip",
        b"Cookie: a=\xc3\x85",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Range: bytes=0-1",
        b"If-None-Match: *",
        b"X-HTTP-Method-Override: DELETE",
        b"Authorization: Basic !!!",
    ]
)


@st.composite
def requests(draw):
    """Generate a more or less valid request, with a correct signature in many cases."""
    route, data, more = draw(path), draw(body | st.just(b"")), draw(query)
    right = "POST" if route.endswith(("events", "connections")) else "GET"
    verb = draw(st.sampled_from([right] * 4) | method)
    parameters = signed_query(APP, verb, route, more, data, NOW) if draw(st.booleans()) else more
    text = "&".join(f"{name}={value}" for name, value in parameters.items())
    lines = [f"{verb} {route}?{text} HTTP/1.{draw(st.sampled_from([1, 1, 1, 0]))}".encode()]
    lines += draw(st.lists(header, max_size=3))
    if draw(st.integers(0, 9)):
        lines.append(b"Content-Length: %d" % len(data))
    else:
        lines.append(b"Transfer-Encoding: chunked")
        data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
    return b"\r\n".join(lines) + b"\r\n\r\n" + data


upgrades = st.builds(
    lambda target, more: upgrade_request(target).replace(
        b"Host: localhost", b"Host: localhost" + more
    ),
    st.sampled_from(
        ["/app/app-key?protocol=7", "/app/x", "/app/%FF?protocol=%FF&protocol=7", "/", "//["]
    ),
    st.lists(
        st.sampled_from(
            [
                b"\r\nOrigin: null",
                b"\r\nOrigin: http://[",
                b"\r\nSec-WebSocket-Protocol: ,,",
                b"\r\nHost: y",
                b'\r\nSec-WebSocket-Extensions: permessage-deflate; x="',
                b"\r\nSec-WebSocket-Version: 8",
                b"\r\nConnection: close",
                b"\r\nX-Forwarded-For: ;",
                b"\r\nCookie: \x85",
                b"\r\nX: \x0b",
                b"\n",
            ]
        ),
        max_size=3,
    ).map(b"".join),
)


@st.composite
def mutated(draw, source):
    """Change, remove, repeat or insert some bytes, or truncate them."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 5))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 5))]
            case 2:
                data[at:at] = data[max(0, at - 20) : at]
            case 3:
                del data[at:]
            case 4:
                data[at:at] = draw(
                    st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b" ", b"%", b"&", b":"])
                )
    return bytes(data)


sizes = st.sampled_from([0, 0, 0, 1, 40])


STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


def check(attacked, parts, size):
    """Send all requests on one connection, which must get valid responses and be closed."""
    connection = Wire(attacked.server)
    try:
        send(connection, b"".join(parts), size)
    finally:
        connection.vanish()
        attacked.server.clients[:] = [attacked.healthy]
        attacked.healthy.take()
    attacked.check()
    assert not attacked.server.service.factory.http_connections
    assert attacked.server.service.sizes()["WebSocket connections"] == 1


def send(connection, data, size):
    for segment in [data[i : i + size] for i in range(0, len(data), size)] if size else [data]:
        connection.send(segment)
    if b" 101 " in connection.received:
        return
    if not connection.ended:
        # Incomplete requests and idle connections time out.
        connection.advance(7)
    assert connection.ended
    assert b"500" not in STATUS.findall(connection.received)
    for body in connection.received.split(b"\r\n\r\n")[1:]:
        if b'"error"' in body:
            assert body.startswith(b'{"error":"')


@pytest.mark.slow
def test_requests_of_any_kind(attacked):
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.lists(requests() | upgrades, min_size=1, max_size=3), sizes)
    def run(parts, size):
        check(attacked, parts, size)

    run()


@pytest.mark.slow
def test_mutated_requests(attacked):
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.lists(mutated(requests() | upgrades), min_size=1, max_size=3), sizes)
    def run(parts, size):
        check(attacked, parts, size)

    run()


def test_random_bytes_as_requests(attacked):
    @settings(max_examples=examples(150), deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.binary(min_size=1, max_size=200), st.sampled_from([b"", b"\r\n\r\n"]), sizes)
    def run(data, end, size):
        check(attacked, [data + end], size)

    run()
