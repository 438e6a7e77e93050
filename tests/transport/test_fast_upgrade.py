"""Upgrades that are read the short way are those that Autobahn would accept."""

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


def read(head, *, compression=False):
    return parse_fast_upgrade(head, compression=compression)


def test_a_plain_upgrade_is_read():
    upgrade = read(HEAD + b"Origin: https://example.com\r\n")

    assert upgrade.uri == "/app/key?protocol=7&client=js"
    assert upgrade.origin == "https://example.com"


def test_the_answer_is_that_of_the_rfc():
    """RFC 6455, 1.3."""
    head, _, rest = read(HEAD).answer.partition(b"\r\n\r\n")

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
def test_what_differs_without_meaning_is_plain(old, new):
    assert read(HEAD.replace(old, new)).uri == read(HEAD).uri


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
def test_everything_else_is_left_to_autobahn(old, new):
    assert read(HEAD.replace(old, new)) is None


EXTENSIONS = b"Sec-WebSocket-Extensions: "


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate", b"permessage-deflate; client_max_window_bits"]
)
def test_what_browsers_offer_is_agreed_on_where_it_may_be(offer):
    head = HEAD + EXTENSIONS + offer + b"\r\n"
    agreed, ignored = read(head, compression=True), read(head)

    assert agreed.agreement.takes_shared
    assert EXTENSIONS + agreed.agreement.header.encode() in agreed.answer.split(b"\r\n")
    assert ignored.agreement is None
    assert EXTENSIONS not in ignored.answer


def test_nothing_is_agreed_on_that_is_not_offered():
    assert read(HEAD, compression=True).agreement is None


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate; server_max_window_bits=9", b"permessage-deflate, x", b""]
)
def test_any_other_offer_is_left_to_autobahn_where_it_may_be_taken(offer):
    head = HEAD + EXTENSIONS + offer + b"\r\n"

    assert read(head, compression=True) is None
    assert read(head) is not None
