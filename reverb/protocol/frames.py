"""The bytes of the WebSocket frames that the server sends (RFC 6455, 5.2)."""

_SHORT = 126
_MEDIUM = 65_536

PING = b"\x89\x00"
"""A ping without payload (RFC 6455, 5.5.2)."""


def text_frame(payload: bytes) -> bytes:
    """Put the header of one unmasked, unfragmented text frame before a payload.

    Done once for a publication, however many subscribers get it.
    """
    length = len(payload)
    if length < _SHORT:
        return b"\x81%c%b" % (length, payload)
    if length < _MEDIUM:
        return b"\x81\x7e%b%b" % (length.to_bytes(2), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8), payload)
