"""Encodes the WebSocket frames that the server sends, and batches of them (RFC 6455; RFC 7692)."""

import zlib
from collections.abc import Sequence

_TEXT = 0x81
"""The first byte of a text frame: FIN and opcode 1."""
_COMPRESSED_TEXT = 0xC1
"""The first byte of a compressed text frame: FIN, RSV1 and opcode 1.

RSV1 marks a compressed payload (RFC 7692, 6).
"""
_SHORT = 126
"""A payload of fewer bytes than this has its length in the frame's second byte (RFC 6455, 5.2)."""
_MEDIUM = 65_536
"""From this many bytes on, the length takes 8 additional bytes instead of 2."""

PING = b"\x89\x00"
"""A ping frame without payload (RFC 6455, 5.5.2)."""

DEFLATE_WINDOW_BITS = 12
"""The base-2 logarithm of the LZ77 window's size in bytes.

A client needs a window of at least this size to inflate a compressed frame.
"""
_DEFLATE_LEVEL = 4
_DEFLATE_MEMORY = 5
_DEFLATE_TAIL = 4
"""The number of bytes that RFC 7692, 7.2.1, removes from the end of the compressed data."""


def text_frame(payload: bytes) -> bytes:
    """Encode a payload as one unmasked, unfragmented text frame."""
    return _frame(_TEXT, payload)


def compressed_text_frame(payload: bytes) -> bytes:
    """Compress a payload, and encode it as one text frame (RFC 7692, 7.2.1).

    The compressed data does not refer to earlier messages, so one frame serves all
    subscribers that have negotiated compression.

    The compressor's settings use less memory than zlib's default settings. With the default
    settings, JSON of up to 10 KB becomes hardly smaller, but each compressor needs 250 KB of
    memory. To allocate and clear 250 KB takes longer than to compress the JSON.
    """
    deflater = zlib.compressobj(
        _DEFLATE_LEVEL, zlib.DEFLATED, -DEFLATE_WINDOW_BITS, _DEFLATE_MEMORY
    )
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return _frame(_COMPRESSED_TEXT, data[:-_DEFLATE_TAIL])


def _frame(first_byte: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < _SHORT:
        return b"%c%c%b" % (first_byte, length, payload)
    if length < _MEDIUM:
        return b"%c\x7e%b%b" % (first_byte, length.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (first_byte, length.to_bytes(8), payload)


class Frame:
    """One publication, encoded once for all subscribers.

    Args:
        payload: The message in JSON.
        exclude: The socket id of the one connection that must not receive the
            message; None to exclude none.
        number: The frame's position among all publications on this node.
    """

    __slots__ = ("_compressed", "exclude", "number", "payload", "plain")

    def __init__(self, payload: bytes, exclude: str | None, number: int = 0) -> None:
        self.payload = payload
        self.exclude = exclude
        self.number = number
        self.plain = text_frame(payload)
        self._compressed = b""

    def compressed(self, min_bytes: int) -> bytes:
        """Return the frame for subscribers that have negotiated compression.

        The first call compresses the payload; later calls return the same frame.

        Args:
            min_bytes: A payload of fewer bytes is not compressed.
        """
        if len(self.payload) < min_bytes:
            return self.plain
        if not self._compressed:
            self._compressed = compressed_text_frame(self.payload)
        return self._compressed


class FrameBatch:
    """A sequence of frames that is sent with one write.

    Args:
        frames: The frames, at least one, in the order of publication.

    Attributes:
        frames: The frames; a transport other than WebSocket sends their payloads.
        plain: The bytes of all frames, uncompressed.
    """

    __slots__ = ("frames", "plain")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.plain = b"".join([frame.plain for frame in frames])

    def compressed(self, min_bytes: int) -> bytes:
        """Return the joined frames for subscribers that have negotiated compression."""
        return b"".join([frame.compressed(min_bytes) for frame in self.frames])
