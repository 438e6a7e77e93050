"""Whether a request of the API is signed by the app's server.

Source: Pusher's documentation, "HTTP API: Authentication".
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote, unquote_plus

from reverb.api.query import Query
from reverb.api.replies import ApiError
from reverb.apps import App
from reverb.protocol.signing import constant_time_equal, request_text, sign

_VERSION = "1.0"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_ARRAY = re.compile(r"(.*)\[[^\]]*\]")


def check_signature(
    app: App,
    *,
    method: str,
    path: str,
    prefix: str,
    query: Query,
    body: bytes,
    now: float,
    tolerance: int,
) -> None:
    """Check that a request was signed with the app's secret, for this body, lately.

    Args:
        app: The app that the request names.
        method: The HTTP method.
        path: As it was on the wire, without the query.
        prefix: Of this node's routes; SDKs differ in whether they sign it.
        query: The request's.
        body: As it was received.
        now: Seconds since the epoch.
        tolerance: Seconds that the request's timestamp may differ from it.

    Raises:
        ApiError: With 401, or 400 for another app's key; the message says
            what was expected, never the secret.
    """
    pairs = query.pairs
    decoded = {name.lower(): value for name, value in pairs}
    for name in ("auth_key", "auth_timestamp", "auth_version", "auth_signature"):
        if not decoded.get(name):
            raise ApiError(401, f"Missing {name}: every request must be signed")
    if not constant_time_equal(app.key, decoded["auth_key"]):
        raise ApiError(400, f"Unknown auth_key: it is not a key of app {app.id}")
    if decoded["auth_version"] != _VERSION:
        raise ApiError(401, f"Unsupported auth_version: expected {_VERSION}")
    _check_timestamp(decoded["auth_timestamp"], now, tolerance)
    _check_body(decoded.get("body_md5"), body)
    given = decoded["auth_signature"]
    expected = request_text(method, path.removeprefix(prefix), _joined(pairs))
    if constant_time_equal(sign(app.secret, expected), given):
        return
    if not any(
        constant_time_equal(sign(app.secret, text), given)
        for text in _variants(method, path, prefix, query.raw)
    ):
        shown = expected.replace("\n", "\\n")
        raise ApiError(
            401,
            f'Invalid signature: you should have sent HmacSHA256Hex("{shown}", your_secret_key), '
            f'but you sent "{given[:100]}"',
        )


def _check_timestamp(timestamp: str, now: float, tolerance: int) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise ApiError(401, "Invalid auth_timestamp: expected seconds since 1970")
    if abs(now - int(timestamp)) > tolerance:
        raise ApiError(
            401,
            f"Timestamp expired: Given timestamp ({_iso(int(timestamp))}) not within "
            f"{tolerance}s of server time ({_iso(now)})",
        )


def _iso(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return "beyond all years"


def _check_body(given: str | None, body: bytes) -> None:
    # Without a body, body_md5 is not looked at: the Python SDK sends it all the same.
    if not body:
        return
    if not given:
        raise ApiError(401, "Missing body_md5: a request with a body must sign its MD5")
    expected = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if not constant_time_equal(expected, given.lower()):
        raise ApiError(
            401,
            f"Invalid body_md5: the body that arrived has {expected}, but you sent {given[:64]}",
        )


def _variants(
    method: str, path: str, prefix: str, query: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Yield what else may have been signed.

    SDKs agree on everything but three details: whether the path is signed
    with the prefix of a proxy or server, escaped or not, and whether query
    values are signed escaped.
    """
    short = path.removeprefix(prefix)
    for candidate in dict.fromkeys((short, path, unquote(short), unquote(path))):
        for decode in (unquote, unquote_plus, str):
            pairs = [(decode(name), decode(value)) for name, value in query]
            yield request_text(method, candidate, _joined(pairs))


def _joined(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join the parts of PHP's arrays, which it signs as one value with commas."""
    if "[" not in "".join([name for name, _ in pairs]):
        return pairs
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        array = _ARRAY.fullmatch(name)
        values.setdefault(array[1] if array else name, []).append(value)
    return [(name, ",".join(parts)) for name, parts in values.items()]
