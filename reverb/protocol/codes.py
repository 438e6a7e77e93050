"""The protocol's error and close codes.

Source: Pusher's protocol documentation, "Error codes". The range of a code
determines how clients react:

========= ===========================================================================
4000-4099 do not reconnect (pusher-js tries TLS after 4000)
4100-4199 reconnect after a second or more
4200-4299 reconnect at once
4300-4399 only in error events: after such a close code pusher-js does not reconnect
========= ===========================================================================
"""

from enum import IntEnum


class Code(IntEnum):
    """An error code of the protocol."""

    TLS_ONLY = 4000
    """The app accepts only TLS connections."""
    UNKNOWN_APP = 4001
    """No app has the key in the connection URL."""
    APP_DISABLED = 4003
    """The app is disabled."""
    OVER_QUOTA = 4004
    """The app has as many connections as its ``max_connections`` allows."""
    PATH_NOT_FOUND = 4005
    """The path of the connection URL is not of the form ``/app/KEY``."""
    BAD_VERSION = 4006
    """The ``version`` or the ``protocol`` in the connection URL is malformed."""
    UNSUPPORTED_PROTOCOL = 4007
    """The server does not support the ``protocol`` in the connection URL."""
    NO_PROTOCOL = 4008
    """The connection URL has no ``protocol`` parameter; this server does not send the code."""
    UNAUTHORIZED = 4009
    """The client is not authorized, or the app's server has terminated the user's connections."""
    OVER_CAPACITY = 4100
    """The server cannot serve the client now, for example because the client reads too slowly."""
    RECONNECT = 4200
    """The client should reconnect at once, for example because the server is stopping."""
    NO_PONG = 4201
    """The client has not answered a ping in time."""
    INACTIVE = 4202
    """The connection was inactive; this server does not send the code."""
    CLIENT_EVENT_RATE = 4301
    """The client has exceeded a rate limit: that of client events, or that of all messages."""
    WATCHLIST_LIMIT = 4302
    """The watchlist has more users than the server watches for one connection."""


class ClientError(Exception):
    """An error for the client, usually because a message of the client breaks a rule.

    The session sends the error to the client as a ``pusher:error`` event. The error
    does not close the connection.

    Args:
        message: A sentence for the client's developer that says what is wrong.
        code: The protocol's code for the error; None if it has none.
        auth_failure: The operation whose signature is missing or wrong:
            ``"subscription"`` or ``"signin"``; empty for any other error.
        limit: The limit that the client has reached, one of
            :data:`reverb.meter.LIMITS`; empty for any other error.
    """

    def __init__(
        self, message: str, code: Code | None = None, *, auth_failure: str = "", limit: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.auth_failure = auth_failure
        self.limit = limit


def message_too_large(size: int, max_bytes: int) -> ClientError:
    """Make the error for a message of ``size`` bytes, which is more than the app's limit."""
    limit = "max_message_bytes"
    return ClientError(
        f"Message too large: {size} bytes, of at most {max_bytes} ({limit})", limit=limit
    )
