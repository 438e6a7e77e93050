"""How commands are written to Redis, and answers read: its serialization protocol, RESP."""

from typing import Any, BinaryIO

Argument = bytes | str | int


class ErrorReply(Exception):  # noqa: N818 - it is what Redis calls it
    """Redis answered with an error; the text is Redis's."""


def pack_command(*arguments: Argument) -> bytes:
    """Write one command the way Redis reads it."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def read_reply(answers: BinaryIO) -> Any:
    """Read one answer, waiting for it.

    Returns:
        Text, a number, a list of them, or None.

    Raises:
        ErrorReply: It is an error.
        ValueError: It is nothing that Redis answers.
    """
    line = answers.readline().decode("utf-8", "replace")
    kind, rest = line[:1], line[1:].rstrip("\r\n")
    if kind == "+":
        return rest
    if kind == "-":
        raise ErrorReply(rest)
    if kind not in (":", "$", "*"):
        raise ValueError(f"no answer of Redis begins with {line[:20]!r}")
    number = int(rest)
    if kind == ":":
        return number
    if number < 0:
        return None
    if kind == "*":
        return [read_reply(answers) for _ in range(number)]
    return answers.read(number + 2)[:number].decode("utf-8", "replace")
