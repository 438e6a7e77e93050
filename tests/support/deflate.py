"""Compression as a client does it."""

import zlib


def deflate(payload, *, bits=15, level=6):
    """Deflate a payload as a client does (RFC 7692, 7.2.1)."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b"\0\0\xff\xff")
    return data[:-4]
