"""The bytes of the WebSocket frames that the server sends (RFC 6455, 5.2; RFC 7692)."""

import zlib

_TEXT = 0x81
"""FIN, opcode 1."""
_COMPRESSED_TEXT = 0xC1
"""The same with RSV1, which says that the payload is compressed (RFC 7692, 6)."""
_SHORT = 126
_MEDIUM = 65_536

PING = b"\x89\x00"
"""A ping without payload (RFC 6455, 5.5.2)."""


DEFLATE_WINDOW_BITS = 12
"""The window that a client needs to inflate a compressed frame, as a power of two."""
_DEFLATE_LEVEL = 4
_DEFLATE_MEMORY = 5
_DEFLATE_TAIL = 4
"""Bytes at the end of what is flushed that RFC 7692, 7.2.1, leaves out."""


def text_frame(payload: bytes) -> bytes:
    """Put the header of one unmasked, unfragmented text frame before a payload.

    Done once for a publication, however many subscribers get it.
    """
    return _frame(_TEXT, payload)


def compressed_text_frame(payload: bytes) -> bytes:
    """Compress a payload into one text frame (RFC 7692, 7.2.1).

    It refers to nothing that was sent before, so that it too is made once for
    all subscribers that have agreed to compression.

    zlib's defaults make JSON of up to 10 KB hardly smaller, but take 250 KB for
    each compressor, which cost more to get and to clear than to work with.
    """
    deflater = zlib.compressobj(
        _DEFLATE_LEVEL, zlib.DEFLATED, -DEFLATE_WINDOW_BITS, _DEFLATE_MEMORY
    )
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return _frame(_COMPRESSED_TEXT, data[:-_DEFLATE_TAIL])


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < _SHORT:
        return b"%c%c%b" % (first, length, payload)
    if length < _MEDIUM:
        return b"%c\x7e%b%b" % (first, length.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (first, length.to_bytes(8), payload)
