"""The signatures of the protocol: of subscriptions, sign-ins, API requests and webhooks.

Each signature is the HMAC-SHA256 of a text with the app's secret, in lowercase
hexadecimal. Sources: Pusher's documentation, "Auth signatures", "HTTP API: Generating
authentication signatures", "Webhooks: Security".
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from reverb.apps import App


def sign(secret: str, text: str | bytes) -> str:
    """Sign a text with an app's secret.

    Returns:
        64 lowercase hexadecimal digits.
    """
    if isinstance(text, str):
        # JSON may contain half of a surrogate pair, which plain UTF-8 fails to encode.
        text = text.encode("utf-8", "surrogatepass")
    return hmac.digest(secret.encode(), text, "sha256").hex()


def constant_time_equal(expected: str, given: str) -> bool:
    """Compare two signatures or keys, in a time that does not depend on where they differ."""
    if expected.isascii() and given.isascii():
        return hmac.compare_digest(expected, given)
    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), given.encode("utf-8", "surrogatepass")
    )


def channel_text(socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """Return the text to sign for a subscription.

    Args:
        socket_id: The socket id of the subscribing connection.
        channel: The channel's name.
        channel_data: The ``channel_data`` exactly as the client sent it; None
            when the client sent none. The ``channel_data`` is signed on every kind of
            channel, not only on presence channels.
    """
    if channel_data is None:
        return f"{socket_id}:{channel}"
    return f"{socket_id}:{channel}:{channel_data}"


def user_text(socket_id: str, user_data: str) -> str:
    """Return the text to sign for a sign-in."""
    return f"{socket_id}::user::{user_data}"


def request_text(method: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return the text to sign for an HTTP API request.

    Args:
        method: The HTTP method.
        path: The path, without the query.
        parameters: The names and values in the query, without percent-encoding.
            ``auth_signature`` is ignored.
    """
    return f"{method.upper()}\n{path}\n{query_text(parameters)}"


def query_text(parameters: Iterable[tuple[str, str]]) -> str:
    """Return the last line of the text to sign for an HTTP API request: the signed query.

    Args:
        parameters: The names and values in the query, as for :func:`request_text`.
    """
    pairs = sorted([(name.lower(), value) for name, value in parameters])
    return "&".join([f"{name}={value}" for name, value in pairs if name != "auth_signature"])


def signed_query(  # noqa: PLR0917 - the parameters are in the order in which they are signed
    app: App, method: str, path: str, parameters: Mapping[str, str], body: bytes, now: float
) -> dict[str, str]:
    """Return the query parameters of a signed HTTP API request.

    Args:
        app: The app whose key and secret sign the request.
        method: The HTTP method.
        path: The path, without the query.
        parameters: The query parameters to sign besides those for authentication,
            without percent-encoding.
        body: The request's body, empty for none.
        now: The Unix time in seconds.

    Returns:
        All parameters of the query, including ``auth_signature``, without
        percent-encoding.
    """
    query = {
        **parameters,
        "auth_key": app.key,
        "auth_timestamp": str(int(now)),
        "auth_version": "1.0",
    }
    if body:
        query["body_md5"] = hashlib.md5(body, usedforsecurity=False).hexdigest()
    query["auth_signature"] = sign(app.secret, request_text(method, path, query.items()))
    return query
