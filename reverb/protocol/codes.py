"""Every error and close code of the protocol, and what clients do on it.

Source: Pusher's protocol documentation, "Error codes". Clients act on the band:

========= ==================================================================
4000-4099 do not reconnect (pusher-js tries TLS after 4000)
4100-4199 reconnect after a second or more
4200-4299 reconnect at once
4300-4399 an error event only; never a close code, pusher-js would not return
========= ==================================================================
"""

from enum import IntEnum


class Code(IntEnum):
    """An error code of the protocol."""

    TLS_ONLY = 4000
    """Application only accepts TLS connections."""
    UNKNOWN_APP = 4001
    """Application does not exist."""
    APP_DISABLED = 4003
    """Application disabled."""
    OVER_QUOTA = 4004
    """Application is over connection quota."""
    PATH_NOT_FOUND = 4005
    """Path not found."""
    BAD_VERSION = 4006
    """Invalid version string format."""
    UNSUPPORTED_PROTOCOL = 4007
    """Unsupported protocol version."""
    NO_PROTOCOL = 4008
    """No protocol version supplied."""
    UNAUTHORIZED = 4009
    """Connection is unauthorized."""
    OVER_CAPACITY = 4100
    """Over capacity."""
    RECONNECT = 4200
    """Generic reconnect immediately."""
    NO_PONG = 4201
    """Pong reply not received."""
    INACTIVE = 4202
    """Closed after inactivity."""
    CLIENT_EVENT_RATE = 4301
    """Client event rejected due to rate limit."""
    WATCHLIST_LIMIT = 4302
    """Watchlist limit exceeded."""


class ClientError(Exception):
    """What a client did that the protocol does not allow.

    It becomes a ``pusher:error`` event on that client's connection, which
    stays open and otherwise as it was.

    Args:
        message: A sentence that says what was expected.
        code: The protocol's code for it, if it has one.
        unsigned: What a signature that is missing or wrong was to allow, if that is it.
        limit: Name of the app's setting that was reached, if one was.
    """

    def __init__(
        self, message: str, code: Code | None = None, *, auth_failure: str = "", limit: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.auth_failure = auth_failure
        self.limit = limit
