"""The fast path accepts upgrades that Autobahn would accept, or leaves them to it."""

import pytest

from reverb.transport.fast_upgrade import parse_fast_upgrade

HEAD = (
    b"GET /app/key?protocol=7&client=js HTTP/1.1\r\n"
    b"Host: example.com:8080\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)


def parse(head, *, compression=False):
    return parse_fast_upgrade(head, compression=compression)


def test_a_simple_upgrade_is_parsed():
    upgrade = parse(HEAD + b"Origin: https://example.com\r\n")

    assert upgrade.uri == "/app/key?protocol=7&client=js"
    assert upgrade.origin == "https://example.com"


def test_the_response_is_that_of_the_rfc():
    """RFC 6455, 1.3."""
    head, _, rest = parse(HEAD).response.partition(b"\r\n\r\n")

    assert rest == b""
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b"\r\nUpgrade: websocket\r\n" in head
    assert b"\r\nConnection: Upgrade\r\n" in head


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"UPGRADE:WebSocket"),
        (b"Connection: Upgrade", b"connection: keep-alive, Upgrade"),
        (b"Host:", b"Cookie: a=b; c=d\r\nUser-Agent: Mozilla/5.0 (X11)\r\nHost:"),
        (b"Host:", b"Sec-WebSocket-Extensions: permessage-deflate\r\nHost:"),
    ],
)
def test_equivalent_headers_are_accepted(old, new):
    assert parse(HEAD.replace(old, new)).uri == parse(HEAD).uri


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/app/", b"//app/"),
        (b"/app/", b"app/"),
        (b"/app/", b"/a[p/"),
        (b"?protocol", b"#x?protocol"),
        (b"?protocol", b" ?protocol"),
        (b"Host: example.com:8080\r\n", b""),
        (b"Host:", b"Host: other\r\nHost:"),
        (b"Host:", b"Host :"),
        (b"Host:", b"X-A: v\x0bX-B: w\r\nHost:"),
        (b"Host:", b"X-A: v\x85\r\nHost:"),
        (b"Host:", b"X-A: v\r\n folded\r\nHost:"),
        (b"Host:", b"Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\nHost:"),
        (b"websocket", b"h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
        (b"Connection: Upgrade", b"Connection: Upgraded"),
        (b"Version: 13", b"Version: 8"),
        (b"Version: 13", b"Version: 13, 8"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ="),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25j!Q=="),
        (b"\r\n", b"\n"),
    ],
)
def test_other_upgrades_are_left_to_autobahn(old, new):
    assert parse(HEAD.replace(old, new)) is None


EXTENSIONS = b"Sec-WebSocket-Extensions: "


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate", b"permessage-deflate; client_max_window_bits"]
)
def test_the_offer_of_browsers_is_accepted_if_compression_is_enabled(offer):
    head = HEAD + EXTENSIONS + offer + b"\r\n"
    accepted, ignored = parse(head, compression=True), parse(head)

    assert accepted.agreement.accepts_shared_frames
    assert EXTENSIONS + accepted.agreement.header.encode() in accepted.response.split(b"\r\n")
    assert ignored.agreement is None
    assert EXTENSIONS not in ignored.response


def test_without_an_offer_nothing_is_negotiated():
    assert parse(HEAD, compression=True).agreement is None


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate; server_max_window_bits=9", b"permessage-deflate, x", b""]
)
def test_other_offers_are_left_to_autobahn_if_compression_is_enabled(offer):
    head = HEAD + EXTENSIONS + offer + b"\r\n"

    assert parse(head, compression=True) is None
    assert parse(head) is not None
