"""The client's side of WebSocket (RFC 6455) and HTTP, as far as tests need it."""

from collections.abc import Mapping
from typing import Any

import msgspec

_MASK = b"\x37\xfa\x21\x3d"


def upgrade_request(target: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Make a WebSocket upgrade request (RFC 6455, 4.1)."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def frame(
    payload: bytes, *, opcode: int = 1, fin: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """Make a client's WebSocket frame (RFC 6455, 5.2)."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    bit = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, bit | length])
    elif length < 65_536:
        head = bytes([first, bit | 126]) + length.to_bytes(2)
    else:
        head = bytes([first, bit | 127]) + length.to_bytes(8)
    if not masked:
        return head + payload
    mask = (_MASK * (length // 4 + 1))[:length]
    # XOR of two numbers takes a fraction of the time that a loop over the bytes takes.
    masked_payload = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
    return head + _MASK + masked_payload


def parse_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Parse the first WebSocket frame in the bytes that a server has sent.

    Args:
        data: Bytes that start with an unmasked frame.

    Returns:
        The opcode, the payload, and the bytes after the frame. None if the frame is incomplete.
    """
    if len(data) < 2:
        return None
    start, length = 2, data[1] & 0x7F
    if length >= 126:
        start += 2 if length == 126 else 8
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        return None
    return data[0] & 0x0F, data[start : start + length], data[start + length :]


class Response(msgspec.Struct):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """The headers by their lower-case names."""
    body: bytes

    def json(self) -> Any:
        """Decode the body as JSON."""
        return msgspec.json.decode(self.body)


def parse_response(data: bytes) -> Response:
    """Parse one HTTP response.

    If the response has no Content-Length, the body is all of the data after the headers.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", len(body)))
    return Response(int(first.split(" ")[1]), headers, body[:length])
