"""Checks of a new connection: protocol version, app and Origin.

Source: Pusher's documentation, "WebSocket protocol: Connection".
"""

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from urllib.parse import urlsplit

from reverb.apps import App
from reverb.protocol.codes import Code
from reverb.query import QueryError, decode_query, percent_decode

SUBPROTOCOL = "pusher-channels-protocol-7"
"""The WebSocket subprotocol that the Swift SDK offers and expects the server to select."""

_OLDEST, _NEWEST = 4, 7
# Many clients send the + of a semantic version unescaped, and in a query + stands for a space.
_VERSION = re.compile(r"[0-9A-Za-z][-+ .0-9A-Za-z_]{0,63}")


class Rejection(Exception):  # noqa: N818 - it is a response to the client as much as an error
    """The server rejects a connection.

    The client receives the code and the reason in a ``pusher:error`` event and
    in a close frame.

    Args:
        code: The protocol's error code.
        reason: A sentence that tells the client's developer why the connection is rejected.
        limit: The name of the limit that the connection exceeds, from
            :data:`reverb.meter.LIMITS` or :data:`reverb.meter.REFUSALS`; empty if the
            connection exceeds none.
    """

    def __init__(self, code: Code, reason: str, *, limit: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.limit = limit


def parse_key(path: str, prefix: str) -> str:
    """Return the app's key from the path of the connection URL.

    Args:
        path: The URL's path as received, still percent-encoded.
        prefix: The prefix of every route: empty, or a path such as ``/realtime``.

    Raises:
        Rejection: With code 4005 if the path is not the prefix followed by ``/app/KEY``.
    """
    route = prefix + "/app/"
    try:
        key = percent_decode(path.removeprefix(route)) if path.startswith(route) else ""
    except QueryError:
        key = ""
    if not key or "/" in key:
        raise Rejection(Code.PATH_NOT_FOUND, f"Path not found: connect to {route}KEY")
    return key


def parse_query(text: str) -> dict[str, str]:
    """Return the query parameters of the connection URL; a repeated parameter has its last value.

    Raises:
        Rejection: With code 4005 if the query has too many parameters or too many malformed
            escapes.
    """
    try:
        return dict(decode_query(text))
    except QueryError as error:
        raise Rejection(Code.PATH_NOT_FOUND, str(error)) from None


def check_version(query: Mapping[str, str]) -> None:
    """Check ``protocol`` and ``version`` in the query of the connection URL.

    A client without a ``protocol`` speaks version 7: clients that were written for Laravel Reverb,
    which does not read the query, often send none.

    Args:
        query: The query parameters of the connection URL.

    Raises:
        Rejection: With code 4006 if ``protocol`` or ``version`` is malformed, and 4007 if the
            server does not support the ``protocol``.
    """
    version = query.get("version", "")
    if version and not _VERSION.fullmatch(version):
        raise Rejection(Code.BAD_VERSION, f"Invalid version string format: {version[:64]!r}")
    protocol = query.get("protocol", "")
    if not protocol:
        return
    if not (protocol.isascii() and protocol.isdigit()):
        raise Rejection(Code.BAD_VERSION, f"Invalid protocol version: {protocol[:64]!r}")
    if not _OLDEST <= int(protocol[:9]) <= _NEWEST:
        raise Rejection(
            Code.UNSUPPORTED_PROTOCOL,
            f"Unsupported protocol version {protocol[:9]}: this server speaks {_OLDEST} to "
            f"{_NEWEST}",
        )


def check_app(app: App | None, key: str) -> App:
    """Check that the app exists and is enabled.

    Args:
        app: The app that has the key; None if no app has it.
        key: The key from the connection URL.

    Returns:
        The app.

    Raises:
        Rejection: With code 4001 if the app does not exist, 4003 if it is disabled.
    """
    if app is None:
        raise Rejection(Code.UNKNOWN_APP, f"App key {_printable(key[:100])} does not exist")
    if not app.enabled:
        raise Rejection(Code.APP_DISABLED, "Application disabled")
    return app


def check_origin(app: App, origin: str) -> None:
    """Check a browser's Origin against the app's ``allowed_origins``.

    Args:
        app: The app; its ``allowed_origins`` are patterns.
        origin: The Origin header, empty when the request has none. Every browser sends one, so
            an empty Origin is rejected only if the app's ``require_origin`` is True.

    Raises:
        Rejection: With code 4009 if no pattern matches the Origin, or if a required Origin is
            missing.
    """
    if not origin:
        if app.require_origin:
            raise Rejection(
                Code.UNAUTHORIZED, "No Origin header, but the app has require_origin = true"
            )
        return
    patterns = app.allowed_origins
    if "*" in patterns:
        return
    host = _host(origin)
    if not any(_matches(pattern, origin, host) for pattern in patterns):
        raise Rejection(
            Code.UNAUTHORIZED,
            f"Origin not allowed by the app's allowed_origins: {_printable(origin[:100])}",
        )


def _host(origin: str) -> str:
    """Return the host of an Origin in lower case; an empty string if the Origin has none."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _matches(pattern: str, origin: str, host: str) -> bool:
    """Return whether a pattern matches an Origin, whose host may be empty.

    A pattern with ``://`` is compared with the whole Origin, another one with the host. The pattern
    ``null`` is compared with the Origin that browsers send for pages without a host.
    """
    if "://" in pattern:
        return _pattern(pattern).fullmatch(origin.lower()) is not None
    if pattern == "null":
        return origin == "null"
    return host != "" and _pattern(pattern).fullmatch(host) is not None


def _printable(text: str) -> str:
    """Escape a text that has unprintable characters, because the server logs the text."""
    return text if text.isprintable() else ascii(text)


@lru_cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which ``*`` is the only wildcard."""
    escaped = pattern.lower().replace("[", "[[]").replace("?", "[?]")
    return re.compile(translate(escaped))
