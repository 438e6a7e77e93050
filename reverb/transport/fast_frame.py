"""A short way for what nearly every client message is: one small, whole text frame.

Autobahn's parser is complete, and costs ten times as much. What is not a
single, unfragmented, masked text frame with a plain header is left to it.
"""

_EMPTY_PONG = b"\x8a\x80"
"""FIN, opcode 10; masked, no payload: what our own ping is answered with."""
_EMPTY_PONG_LENGTH = 6
_TEXT = 0x81
"""FIN, no extension, opcode 1 (RFC 6455, 5.2)."""
_MASKED = 0x80
_LENGTH_16 = 0xFE
"""Masked, and the length in the next two bytes."""
_SMALL = 126


def is_empty_pong(data: bytes) -> bool:
    """Tell whether received bytes are one pong without a payload, and nothing else."""
    return len(data) == _EMPTY_PONG_LENGTH and data.startswith(_EMPTY_PONG)


def parse_text_frame(data: bytes, start: int, most: int) -> tuple[bytes, int] | None:
    """Take one text frame out of received bytes.

    Args:
        data: What has been received.
        start: Where a frame begins in it.
        most: Bytes that a payload may have, 0 for any number.

    Returns:
        The payload, unmasked, and where the frame ends; None when the frame is
        not of the plain kind, or not there as a whole. The payload has not been
        checked to be UTF-8.
    """
    if len(data) < start + 6 or data[start] != _TEXT:
        return None
    second = data[start + 1]
    if _MASKED <= second < _LENGTH_16:
        length, mask = second - _MASKED, start + 2
    elif second == _LENGTH_16:
        length, mask = int.from_bytes(data[start + 2 : start + 4]), start + 4
        if length < _SMALL:
            return None
    else:
        return None
    begin = mask + 4
    end = begin + length
    if end > len(data) or (most and length > most):
        return None
    # One XOR of two large numbers instead of one for each byte.
    key = (data[mask:begin] * (length // 4 + 1))[:length]
    payload = int.from_bytes(data[begin:end]) ^ int.from_bytes(key)
    return payload.to_bytes(length), end
