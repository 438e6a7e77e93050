"""A short way for what nearly every upgrade to WebSocket is: well-formed and plain.

Autobahn's handshake answers every mistake with its own error, and costs four
times as much. An upgrade in which nothing is to be refused or negotiated is read
here (RFC 6455, 4.2.1), everything else by Autobahn.
"""

import re
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from reverb.transport.deflate import Agreement, agree

_HEAD = re.compile(
    rb"GET (/(?!/)[-!$%&'()*+,./0-9:;=?@A-Z_a-z~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)+)\Z"
)
# What browsers offer, and those who need not save memory.
_AGREEMENTS = {
    b"permessage-deflate; client_max_window_bits": agree(
        [("permessage-deflate", {"client_max_window_bits": [True]})]
    ),
    b"permessage-deflate": agree([("permessage-deflate", {})]),
}
_KEY = re.compile(rb"[+/0-9A-Za-z]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FastUpgrade(NamedTuple):
    """A request for an upgrade that can be obeyed as it is."""

    uri: str
    origin: str
    """Empty when there is none."""
    answer: bytes
    """The response that opens the WebSocket."""
    agreement: Agreement | None
    """What has been agreed on of compression."""


def parse_fast_upgrade(head: bytes, *, compression: bool) -> FastUpgrade | None:
    """Read the head of an upgrade.

    Args:
        head: The request, without the empty line.
        compression: Whether a client that offers to compress may.

    Returns:
        What is asked for; None when it is not of the plain kind.
    """
    match = _HEAD.match(head)
    if match is None:
        return None
    uri, lines = match.groups()
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in headers:
            return None
        headers[name] = value.strip()
    key = headers.get(b"sec-websocket-key", b"")
    if not (
        headers.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in headers.get(b"connection", b"").lower().replace(b" ", b"").split(b",")
        and headers.get(b"sec-websocket-version") == b"13"
        and b"host" in headers
        and _KEY.fullmatch(key)
        and b"sec-websocket-protocol" not in headers
    ):
        return None
    offer = headers.get(b"sec-websocket-extensions") if compression else None
    agreement = None if offer is None else _AGREEMENTS.get(offer)
    if offer is not None and agreement is None:
        return None
    origin = headers.get(b"origin", b"").decode()
    return FastUpgrade(uri.decode(), origin, _answer(key, agreement), agreement)


def _answer(key: bytes, agreement: Agreement | None) -> bytes:
    accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    extensions = (
        b"Sec-WebSocket-Extensions: %b\r\n" % agreement.header.encode() if agreement else b""
    )
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nServer: reverb\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, extensions)
    )
