"""The protocol's error and close codes.

Source: Pusher's protocol documentation, "Error codes". The range of a code
determines how clients react:

========= ========================================================================
4000-4099 do not reconnect (pusher-js tries TLS after 4000)
4100-4199 reconnect after a second or more
4200-4299 reconnect at once
4300-4399 only in error events, never a close code: pusher-js would not reconnect
========= ========================================================================
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
    """An error that is reported to the client, usually because its message breaks a rule.

    The session sends it to the client as a ``pusher:error`` event. The
    connection stays open, and its state does not change. The texts are where
    the error is raised: in ``session``, ``messages`` and ``names`` of this
    package, and in :mod:`reverb.hub`.

    Args:
        message: A sentence that says what was expected.
        code: The protocol's code for the error; None if it has none.
        auth_failure: The operation whose signature was missing or wrong,
            ``"subscription"`` or ``"signin"``; empty for any other error.
        limit: The limit that was reached, one of :data:`reverb.meter.LIMITS`;
            empty for an error that is not counted as a limit hit.
    """

    def __init__(
        self, message: str, code: Code | None = None, *, auth_failure: str = "", limit: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.auth_failure = auth_failure
        self.limit = limit
