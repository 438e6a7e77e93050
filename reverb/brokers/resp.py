"""How commands are written to Redis: its serialization protocol, RESP."""

Argument = bytes | str | int


def pack(*arguments: Argument) -> bytes:
    """Write one command the way Redis reads it."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
