"""Why a connection ended: a label for the metrics, and a text for the log."""

from typing import NamedTuple, Protocol

from reverb.protocol.codes import Code

_PROTOCOL_ERRORS = {
    1002: "protocol_error",
    1003: "unsupported_data",
    1007: "invalid_data",
    1008: "policy_violation",
    1009: "message_too_large",
}
"""The label of each close code (RFC 6455, 7.4.1) for a frame or message that is refused."""


class _Connection(Protocol):
    failedByMe: bool
    localCloseCode: int | None
    localCloseReason: bytes | None
    wasNotCleanReason: str | None


class CloseReason(NamedTuple):
    """Why a connection ended."""

    label: str
    """``client``, ``lost``, the name of a :class:`Code` in lower case, or the label of a violation
    of RFC 6455. For an admitted connection it is one of :data:`REASONS`."""
    detail: str
    """A text for the log, with the close code and the reason where they are known."""


def make_close_reason(
    connection: _Connection,
    closed_by_server: tuple[Code, str] | None,
    *,
    clean: bool,
    code: int | None,
) -> CloseReason:
    """Determine why a connection ended.

    Args:
        connection: The connection, with the attributes that Autobahn has set on it.
        closed_by_server: The code and the reason if the server closed the connection, else None.
        clean: Whether both sides have sent a close frame.
        code: The code of the client's close frame; None when the frame has none. If
            ``clean`` is false, the code is ignored.
    """
    if closed_by_server is not None:
        server_code, text = closed_by_server
        return CloseReason(server_code.name.lower(), f"{int(server_code)} {text}")
    if connection.failedByMe:
        text = (connection.localCloseReason or b"").decode("utf-8", "replace")
        label = _PROTOCOL_ERRORS.get(connection.localCloseCode or 0, "protocol_error")
        return CloseReason(label, f"{connection.localCloseCode} {text}")
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
    *_PROTOCOL_ERRORS.values(),
)
"""All labels of :class:`CloseReason` for an admitted connection."""
