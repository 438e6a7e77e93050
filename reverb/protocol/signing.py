"""The four signatures: of a channel, a user, an HTTP request and a webhook.

All are HMAC-SHA256 with the app's secret, in lower-case hexadecimal. Sources:
Pusher's documentation, "Auth signatures", "HTTP API: Generating authentication
signatures", "Webhooks: Security".
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from reverb.apps import App


def sign(secret: str, text: str | bytes) -> str:
    """Sign a text with an app's secret.

    Returns:
        64 lower-case hexadecimal digits.
    """
    if isinstance(text, str):
        # JSON may hold a lone surrogate; it is signed as itself, never a crash.
        text = text.encode("utf-8", "surrogatepass")
    return hmac.digest(secret.encode(), text, "sha256").hex()


def constant_time_equal(expected: str, given: str) -> bool:
    """Compare two signatures or keys in a time that does not tell where they differ."""
    if expected.isascii() and given.isascii():
        return hmac.compare_digest(expected, given)
    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), given.encode("utf-8", "surrogatepass")
    )


def channel_text(socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """Make the text that authorizes a subscription.

    Args:
        socket_id: Of the connection that subscribes.
        channel: The channel's name.
        channel_data: Exactly as the client sent it; None when it sent none.
            It is signed on every kind of channel that it comes with.
    """
    if channel_data is None:
        return f"{socket_id}:{channel}"
    return f"{socket_id}:{channel}:{channel_data}"


def user_text(socket_id: str, user_data: str) -> str:
    """Make the text that signs a user in."""
    return f"{socket_id}::user::{user_data}"


def request_text(method: str, path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Make the text that signs an HTTP API request.

    Args:
        method: The HTTP method.
        path: The path, without the query.
        parameters: The query's names and values, decoded; ``auth_signature``
            is left out here.
    """
    pairs = sorted([(name.lower(), value) for name, value in parameters])
    query = "&".join([f"{name}={value}" for name, value in pairs if name != "auth_signature"])
    return f"{method.upper()}\n{path}\n{query}"


def signed_query(  # noqa: PLR0917 - in the order in which they are signed
    app: App, method: str, path: str, parameters: Mapping[str, str], body: bytes, now: float
) -> dict[str, str]:
    """Sign an HTTP API request: get the query's parameters, with the signature.

    Args:
        app: Whose server asks.
        method: The HTTP method.
        path: The path, without the query.
        parameters: More parameters of the query, not escaped.
        body: The body, empty for none.
        now: Seconds since the epoch.
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
