"""WebSocket frames as a client sees them (RFC 6455, section 5.2)."""

import zlib
from typing import NamedTuple

from bench.results import RowFailedError

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10

_FIN = 0x80
_COMPRESSED = 0x40
_SHORT = 126
_MEDIUM = 65_536
_MASK = b"\x37\xfa\x21\x3d"  # That of the examples in RFC 6455; servers cannot tell.
_DEFLATE_TAIL = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.2


class FrameError(RowFailedError):
    """Bytes that are no frame which a server of this protocol sends."""


class Frame(NamedTuple):
    """One frame from the server."""

    opcode: int
    payload: bytes
    """Inflated, if it was compressed."""
    raw: bytes
    """All of it, as it came."""


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """Take the whole frames from received bytes.

    Returns:
        The frames, and what is left of an incomplete one.

    Raises:
        FrameError: A frame is masked, fragmented, or cannot be inflated.
    """
    frames: list[Frame] = []
    start = 0
    while (bounds := _bounds(data, start)) is not None:
        body, end = bounds
        first = data[start]
        if not first & _FIN or first & 0x0F == CONTINUATION:
            raise FrameError("the server sent a fragmented message, which is not understood here")
        payload = data[body:end]
        if first & _COMPRESSED:
            payload = _inflate(payload)
        frames.append(Frame(first & 0x0F, payload, data[start:end]))
        start = end
    return frames, data[start:]


def _bounds(data: bytes, start: int) -> tuple[int, int] | None:
    """Find where a frame's payload begins and ends; None if not all of it is there."""
    if len(data) < start + 2:
        return None
    length = data[start + 1]
    if length & 0x80:
        raise FrameError("the server sent a masked frame")
    body = start + 2
    if length >= _SHORT:
        body += 2 if length == _SHORT else 8
        if len(data) < body:
            return None
        length = int.from_bytes(data[start + 2 : body])
    end = body + length
    return (body, end) if end <= len(data) else None


def _inflate(payload: bytes) -> bytes:
    """Inflate a message that was compressed on its own (no context takeover)."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + _DEFLATE_TAIL)
    except zlib.error as error:
        raise FrameError(f"a compressed message cannot be inflated: {error}") from None


def masked(payload: bytes, opcode: int = TEXT) -> bytes:
    """Make the frame that a client sends."""
    length = len(payload)
    if length < _SHORT:
        head = bytes((_FIN | opcode, 0x80 | length))
    elif length < _MEDIUM:
        head = bytes((_FIN | opcode, 0xFE)) + length.to_bytes(2)
    else:
        head = bytes((_FIN | opcode, 0xFF)) + length.to_bytes(8)
    mask = (_MASK * (length // 4 + 1))[:length]
    return head + _MASK + (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
