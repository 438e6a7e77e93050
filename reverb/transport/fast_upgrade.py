"""The fast path for the upgrades to WebSocket that nearly all clients send.

Autobahn's handshake reports each kind of error separately, and costs four times as much as the fast
path. The fast path accepts an upgrade if it is valid (RFC 6455, 4.2.1), repeats no header, requests
no subprotocol, and offers compression in one of the two usual forms or not at all. Autobahn handles
the upgrades that the fast path does not accept.
"""

import re
from base64 import b64encode
from hashlib import sha1
from typing import NamedTuple

from reverb.transport.deflate import Agreement, negotiate
from reverb.transport.http_head import MAX_HEADERS

_HEAD = re.compile(
    rb"GET (/(?!/)[-!$%&'()*+,./0-9:;=?@A-Z_a-z~]*+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++)\Z"
)
# The agreements for the offer of browsers, and for an offer without parameters.
_AGREEMENTS = {
    b"permessage-deflate; client_max_window_bits": negotiate(
        [("permessage-deflate", {"client_max_window_bits": [True]})]
    ),
    b"permessage-deflate": negotiate([("permessage-deflate", {})]),
}
_HOST = re.compile(rb"[.0-9A-Za-z_-]++(?::[0-9]*+)?")
# The fast path leaves a request with one of these headers to http_head and Autobahn.
_SPECIAL = (b"sec-websocket-protocol", b"content-length", b"transfer-encoding")
_KEY = re.compile(rb"[+/0-9A-Za-z]{22}==")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FastUpgrade(NamedTuple):
    """A request for an upgrade that the fast path accepts."""

    uri: str
    origin: str
    """The Origin header; empty when there is none."""
    response: bytes
    """The HTTP response that opens the WebSocket."""
    agreement: Agreement | None
    """The compression parameters; None for a connection without compression."""


def parse_fast_upgrade(head: bytes, *, compression: bool) -> FastUpgrade | None:
    """Parse the head of an upgrade if the fast path can accept the upgrade.

    Args:
        head: The request line and the headers, without the empty line at the end.
        compression: Whether to negotiate compression. If ``compression`` is False, the client's
            offer of compression is ignored.

    Returns:
        The upgrade; None when Autobahn has to handle the request.
    """
    match = _HEAD.match(head)
    if match is None:
        return None
    uri, lines = match.groups()
    if lines.count(b"\n") > MAX_HEADERS:
        return None
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
        and _HOST.fullmatch(headers.get(b"host", b":"))
        and _KEY.fullmatch(key)
        and headers.keys().isdisjoint(_SPECIAL)
    ):
        return None
    offer = headers.get(b"sec-websocket-extensions") if compression else None
    agreement = None if offer is None else _AGREEMENTS.get(offer)
    if offer is not None and agreement is None:
        return None
    origin = headers.get(b"origin", b"").decode()
    return FastUpgrade(uri.decode(), origin, _make_response(key, agreement), agreement)


def _make_response(key: bytes, agreement: Agreement | None) -> bytes:
    accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    extensions = (
        b"Sec-WebSocket-Extensions: %b\r\n" % agreement.header.encode() if agreement else b""
    )
    # The headers have the order of Autobahn's response.
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nServer: reverb\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n%bSec-WebSocket-Accept: %b\r\n\r\n" % (extensions, accept)
    )
