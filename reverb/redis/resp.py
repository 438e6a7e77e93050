"""RESP, the Redis serialization protocol, as hiredis encodes and decodes it."""

import hiredis

Argument = bytes | str | int

MAX_HANDSHAKE_BYTES = 65_536
"""The most bytes of a reply before the login, and of a sentinel's reply."""


class RedisReplyError(Exception):
    """Redis replied with an error; the exception has the text of the reply."""


class ProtocolError(Exception):
    """The server does not speak the Redis protocol, or has disconnected before it replied."""


def pack_command(*arguments: Argument) -> bytes:
    """Encode one command: its name and its arguments."""
    # hiredis annotates the arguments as a tuple of one element.
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]
    return packed


def make_reader() -> hiredis.Reader:
    """Make a reader that parses the replies of Redis.

    The reader's method ``gets`` returns the next reply: bytes, a number, None, a RedisReplyError,
    or a list of these. ``gets`` returns False while no reply is complete, and raises ProtocolError
    if the server does not speak the Redis protocol.
    """
    return hiredis.Reader(protocolError=ProtocolError, replyError=RedisReplyError)
