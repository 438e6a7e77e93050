"""The fast path for nearly every client message: a single, small, complete text frame.

A frame takes the fast path if it is a complete, unfragmented, uncompressed, masked text frame whose
payload is shorter than 65,536 bytes. This module also recognizes a pong without a payload. Autobahn
parses the frames that do not take the fast path, at ten times the cost.
"""

_EMPTY_PONG = b"\x8a\x80"
"""The first two bytes of a client's answer to the server's ping, which has no payload: FIN and
opcode 10; masked, length 0 (RFC 6455, 5.2)."""
PONG_LENGTH = 6
"""The length of an empty pong in bytes: two bytes, then the mask."""
_TEXT = 0x81
"""The first byte of a complete text frame: FIN, no extension, opcode 1 (RFC 6455, 5.2)."""
_MASKED = 0x80
_LENGTH_16 = 0xFE
"""The second byte of a masked frame whose length is in the next two bytes."""
_MIN_LENGTH_16 = 126
"""The smallest payload whose length may be written with 16 bits (RFC 6455, 5.2)."""


def is_empty_pong(data: bytes) -> bool:
    """Return whether the received bytes are exactly one pong without a payload."""
    return len(data) == PONG_LENGTH and data.startswith(_EMPTY_PONG)


def parse_text_frame(data: bytes, start: int, max_bytes: int) -> tuple[bytes, int] | None:
    """Parse one text frame.

    Args:
        data: The received bytes.
        start: The index at which the frame begins.
        max_bytes: The maximum size of a payload in bytes; 0 for no limit.

    Returns:
        The unmasked payload and the index of the frame's end. The caller must check that the
        payload is UTF-8. None when the frame is incomplete, too large, or of a kind that Autobahn
        must parse.
    """
    if len(data) < start + 6 or data[start] != _TEXT:
        return None
    second = data[start + 1]
    if _MASKED <= second < _LENGTH_16:
        length, mask = second - _MASKED, start + 2
    elif second == _LENGTH_16:
        length, mask = int.from_bytes(data[start + 2 : start + 4]), start + 4
        if length < _MIN_LENGTH_16:
            return None
    else:
        return None
    begin = mask + 4
    end = begin + length
    if end > len(data) or (max_bytes and length > max_bytes):
        return None
    # One XOR of two large integers is faster than one XOR for each byte.
    key = (data[mask:begin] * (length // 4 + 1))[:length]
    payload = int.from_bytes(data[begin:end]) ^ int.from_bytes(key)
    return payload.to_bytes(length), end


def frame_end(data: bytes, start: int) -> int | None:
    """Find the end of a frame of any kind (RFC 6455, 5.2).

    Args:
        data: The received bytes.
        start: The index at which the frame begins.

    Returns:
        The index of the frame's end, which is beyond the received bytes if the payload is
        incomplete. None if the frame's header is incomplete.
    """
    if len(data) < start + 2:
        return None
    second = data[start + 1]
    mask = 4 if second & _MASKED else 0
    length = second & ~_MASKED
    payload = start + 2
    if length == _LENGTH_16 - _MASKED:
        payload += 2
        length = int.from_bytes(data[start + 2 : payload])
    elif length > _LENGTH_16 - _MASKED:
        payload += 8
        length = int.from_bytes(data[start + 2 : payload])
    payload += mask
    return payload + length if payload <= len(data) else None
