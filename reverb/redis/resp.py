"""Encodes commands and decodes replies in RESP, the Redis serialization protocol."""

from typing import Any, BinaryIO

Argument = bytes | str | int


class ErrorReply(Exception):  # noqa: N818 - Redis's own name for it
    """Redis replied with an error; the text is Redis's."""


def pack_command(*arguments: Argument) -> bytes:
    """Encode one command: its name and its arguments."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def read_reply(stream: BinaryIO) -> Any:
    """Read and decode one reply; blocks until the reply is complete.

    Returns:
        A string, a number, None, or a list of these.

    Raises:
        ErrorReply: The reply is an error.
        ValueError: The reply is not RESP, or the connection ended before it.
    """
    line = stream.readline().decode("utf-8", "replace")
    kind, rest = line[:1], line[1:].rstrip("\r\n")
    if kind == "+":
        return rest
    if kind == "-":
        raise ErrorReply(rest)
    if kind not in (":", "$", "*"):
        raise ValueError(f"no reply of Redis begins with {line[:20]!r}")
    number = int(rest)
    if kind == ":":
        return number
    if number < 0:
        return None
    if kind == "*":
        return [read_reply(stream) for _ in range(number)]
    return stream.read(number + 2)[:number].decode("utf-8", "replace")
