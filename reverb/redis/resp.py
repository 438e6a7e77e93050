"""RESP, the Redis serialization protocol, as hiredis encodes and decodes it."""

import hiredis

Argument = bytes | str | int

MAX_HANDSHAKE_BYTES = 65_536
"""The most bytes of a reply before this server has logged in, or of a sentinel's reply."""


class RedisReplyError(Exception):
    """Redis replied with an error; the text is Redis's."""


class ProtocolError(Exception):
    """The server does not speak the Redis protocol."""


def pack_command(*arguments: Argument) -> bytes:
    """Encode one command: its name and its arguments."""
    # The stub of hiredis allows only one argument.
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]
    return packed


def make_reader() -> hiredis.Reader:
    """Make a reader of replies.

    ``gets()`` returns a reply, and False while no reply is complete: bytes, a number, None, a
    RedisReplyError, or a list of these. It raises ProtocolError.
    """
    return hiredis.Reader(protocolError=ProtocolError, replyError=RedisReplyError)
