"""Verification of the signatures of API requests.

Source: Pusher's documentation, "HTTP API: Authentication".
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote, unquote_plus

from reverb.api.responses import ApiError
from reverb.apps import App
from reverb.http import Request
from reverb.protocol.signing import constant_time_equal, request_text, sign

_VERSION = "1.0"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_ARRAY = re.compile(r"(.*)\[[^\]]*\]")


def check_signature(app: App, request: Request, *, prefix: str, now: float, tolerance: int) -> None:
    """Check that a request and its body were signed recently with the app's secret.

    Args:
        app: The app that the request is for.
        request: The request.
        prefix: The prefix of this node's routes. SDKs differ in whether they sign the path
            with the prefix.
        now: The current time, in seconds since 1970.
        tolerance: Seconds by which the request's timestamp may differ from ``now``.

    Raises:
        ApiError: With 400 if ``auth_key`` is not the app's key, and with 401 for any other
            problem. The message says what was expected, but does not contain the secret.
    """
    method, path = request.method, request.path
    pairs = request.query.pairs
    parameters = {name.lower(): value for name, value in pairs}
    for name in ("auth_key", "auth_timestamp", "auth_version", "auth_signature"):
        if not parameters.get(name):
            raise ApiError(401, f"Missing {name}: every request must be signed")
    if not constant_time_equal(app.key, parameters["auth_key"]):
        raise ApiError(400, f"Unknown auth_key: it is not the key of app {app.id}")
    if parameters["auth_version"] != _VERSION:
        raise ApiError(401, f"Unsupported auth_version: expected {_VERSION}")
    _check_timestamp(parameters["auth_timestamp"], now, tolerance)
    _check_body(parameters.get("body_md5"), request.body)
    received = parameters["auth_signature"]
    expected = request_text(method, path.removeprefix(prefix), _join_arrays(pairs))
    if constant_time_equal(sign(app.secret, expected), received):
        return
    if not any(
        constant_time_equal(sign(app.secret, text), received)
        for text in _signed_text_variants(method, path, prefix, request.query.raw)
    ):
        shown = expected.replace("\n", "\\n")
        raise ApiError(
            401,
            f'Invalid signature: you should have sent HmacSHA256Hex("{shown}", your_secret_key), '
            f'but you sent "{received[:100]}"',
        )


def _check_timestamp(timestamp: str, now: float, tolerance: int) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise ApiError(401, "Invalid auth_timestamp: expected seconds since 1970")
    if abs(now - int(timestamp)) > tolerance:
        raise ApiError(
            401,
            f"Timestamp expired: Given timestamp ({_format_time(int(timestamp))}) not within "
            f"{tolerance}s of server time ({_format_time(now)})",
        )


def _format_time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return "out of range"


def _check_body(body_md5: str | None, body: bytes) -> None:
    # Ignore body_md5 if there is no body: the Python SDK sends it even then.
    if not body:
        return
    if not body_md5:
        raise ApiError(401, "Missing body_md5: a request with a body must sign its MD5")
    expected = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if not constant_time_equal(expected, body_md5.lower()):
        raise ApiError(
            401,
            f"Invalid body_md5: the MD5 of the received body is {expected}, "
            f"but you sent {body_md5[:64]}",
        )


def _signed_text_variants(
    method: str, path: str, prefix: str, query: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Yield the texts that an SDK may have signed for this request.

    SDKs differ in whether the signed path includes the prefix, whether the path and the query are
    percent-encoded, and whether ``+`` in the query means a space.
    """
    without_prefix = path.removeprefix(prefix)
    paths = (without_prefix, path, unquote(without_prefix), unquote(path))
    for candidate in dict.fromkeys(paths):
        for decode in (unquote, unquote_plus, str):
            pairs = [(decode(name), decode(value)) for name, value in query]
            yield request_text(method, candidate, _join_arrays(pairs))


def _join_arrays(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join the elements of each array, such as ``info[0]``, with commas, as the PHP SDK does."""
    if "[" not in "".join([name for name, _ in pairs]):
        return pairs
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        array = _ARRAY.fullmatch(name)
        values.setdefault(array[1] if array else name, []).append(value)
    return [(name, ",".join(elements)) for name, elements in values.items()]
