"""Why a connection has ended: in a word to count it by, and in words for the log."""

from typing import NamedTuple, Protocol

from reverb.protocol.codes import Code

_OF_AUTOBAHN = {
    1002: "protocol_error",
    1003: "unsupported_data",
    1007: "invalid_data",
    1009: "message_too_large",
}
"""Codes that it closes with when a client breaks RFC 6455, 7.4.1."""


class _Connection(Protocol):
    failedByMe: bool
    localCloseCode: int | None
    localCloseReason: bytes | None
    wasNotCleanReason: str | None


class CloseReason(NamedTuple):
    """The end of a connection."""

    reason: str
    """One of few: ``client``, ``lost``, a name of :class:`Code` or of what RFC 6455 forbids."""
    text: str
    """The same, with all that is known."""


def closing(
    connection: _Connection, because: tuple[Code, str] | None, *, clean: bool, code: int | None
) -> CloseReason:
    """Tell why a connection has ended.

    Args:
        connection: As Autobahn left it.
        because: The code and the reason, if the server closed it.
        clean: Whether both sides have sent a close frame.
        code: That of the client's close frame.
    """
    if because is not None:
        own, words = because
        return CloseReason(own.name.lower(), f"{int(own)} {words}")
    if connection.failedByMe:
        words = (connection.localCloseReason or b"").decode("utf-8", "replace")
        reason = _OF_AUTOBAHN.get(connection.localCloseCode or 0, "protocol_error")
        return CloseReason(reason, f"{connection.localCloseCode} {words}")
    if clean:
        return CloseReason("client", f"the client closed ({code or 'no code'})")
    return CloseReason("lost", f"lost: {connection.wasNotCleanReason}")


REASONS = (
    "client",
    "lost",
    *(
        code.name.lower()
        for code in (Code.UNAUTHORIZED, Code.OVER_CAPACITY, Code.RECONNECT, Code.NO_PONG)
    ),
    *_OF_AUTOBAHN.values(),
)
"""Every reason that an admitted connection ends for."""
