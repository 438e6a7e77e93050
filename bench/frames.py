"""WebSocket frames as a client sees them (RFC 6455, section 5.2)."""

import zlib
from typing import NamedTuple

from bench.results import RowFailedError

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10

_FIN = 0x80
_COMPRESSED = 0x40
_SHORT = 126
_MEDIUM = 65_536
_MASK = b"\x37\xfa\x21\x3d"  # The mask of the examples in RFC 6455.
_DEFLATE_TAIL = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.2


class FrameError(RowFailedError):
    """The bytes are not a frame that a server of this protocol sends."""


class Frame(NamedTuple):
    """One frame from the server."""

    opcode: int
    payload: bytes
    """The payload, inflated if it was compressed."""
    raw: bytes
    """The whole frame, as received."""


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """Split received bytes into whole frames.

    Returns:
        The frames, and the bytes of an incomplete frame.

    Raises:
        FrameError: A frame is masked, fragmented, or cannot be inflated.
    """
    frames: list[Frame] = []
    start = 0
    while (bounds := _bounds(data, start)) is not None:
        body, end = bounds
        first = data[start]
        if not first & _FIN or first & 0x0F == CONTINUATION:
            raise FrameError(
                "the server sent a fragmented message, which the benchmark does not support"
            )
        payload = data[body:end]
        if first & _COMPRESSED:
            payload = _inflate(payload)
        frames.append(Frame(first & 0x0F, payload, data[start:end]))
        start = end
    return frames, data[start:]


def _bounds(data: bytes, start: int) -> tuple[int, int] | None:
    """Return the start and the end of a frame's payload; None if it is incomplete."""
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
    """Return a client's masked frame."""
    length = len(payload)
    if length < _SHORT:
        head = bytes((_FIN | opcode, 0x80 | length))
    elif length < _MEDIUM:
        head = bytes((_FIN | opcode, 0xFE)) + length.to_bytes(2)
    else:
        head = bytes((_FIN | opcode, 0xFF)) + length.to_bytes(8)
    mask = (_MASK * (length // 4 + 1))[:length]
    return head + _MASK + (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
