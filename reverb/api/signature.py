"""Verification of the signatures of API requests.

Source: Pusher's documentation, "HTTP API: Authentication".
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from reverb.api.parameters import Parameters, read_parameters
from reverb.api.responses import ApiError
from reverb.apps import App
from reverb.http import Request
from reverb.protocol.signing import constant_time_equal, query_text, request_text, sign
from reverb.query import decode_query, percent_decode, split_query

_VERSION = "1.0"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def check_signature(
    app: App,
    request: Request,
    parameters: Parameters,
    *,
    prefix: str,
    now: float,
    tolerance: int,
) -> Parameters:
    """Check that the client signed a request recently with the app's secret.

    The client signs the MD5 of the body. :func:`check_body` compares the body with the signed MD5.

    Args:
        app: The app that the request is for.
        request: The request.
        parameters: The parameters in the request's query, percent-decoded.
        prefix: The prefix of every route: empty, or a path such as ``/realtime``. SDKs
            differ in whether they sign the path with the prefix.
        now: The current time, in seconds since 1970.
        tolerance: Seconds by which the request's timestamp may differ from ``now``.

    Returns:
        The parameters that the client signed. The signed parameters differ from ``parameters`` if
        the SDK sends a space as ``+``.

    Raises:
        ApiError: With 400 if ``auth_key`` is not the app's key, or with 401 if the request is not
            validly signed. The error message says what was expected, but does not contain the
            secret.
    """
    for name in ("auth_key", "auth_timestamp", "auth_version", "auth_signature"):
        if not parameters.get(name):
            raise ApiError(401, f"Missing {name}: every request must be signed")
    if not constant_time_equal(app.key, parameters["auth_key"]):
        raise ApiError(400, f"Unknown auth_key: it is not the key of app {app.id}")
    if parameters["auth_version"] != _VERSION:
        raise ApiError(401, f"Unsupported auth_version: expected {_VERSION}")
    _check_timestamp(parameters["auth_timestamp"], now, tolerance)
    if request.has_body and not parameters.get("body_md5"):
        raise _missing_md5()
    received = parameters["auth_signature"]
    expected = request_text(request.method, request.path.removeprefix(prefix), parameters.items())
    if constant_time_equal(sign(app.secret, expected), received):
        return parameters
    for text, meant in _signed_variants(request, parameters, prefix):
        if constant_time_equal(sign(app.secret, text), received):
            return meant
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


def check_body(parameters: Parameters, body: bytes) -> None:
    """Check that a request's body is the one that the client signed.

    Args:
        parameters: The parameters that :func:`check_signature` returned.
        body: The request's body.

    Raises:
        ApiError: With 401 if ``body_md5`` is not the MD5 of the body. For an empty body,
            ``body_md5`` may be missing, but the Python SDK sends it.
    """
    body_md5 = parameters.get("body_md5")
    if not body_md5:
        if body:
            raise _missing_md5()
        return
    expected = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if not constant_time_equal(expected, body_md5.lower()):
        raise ApiError(
            401,
            f"Invalid body_md5: the MD5 of the received body is {expected}, "
            f"but you sent {body_md5[:64]}",
        )


def _missing_md5() -> ApiError:
    return ApiError(401, "Missing body_md5: a request with a body must sign its MD5")


def _signed_variants(
    request: Request, parameters: Parameters, prefix: str
) -> Iterator[tuple[str, Parameters]]:
    """Yield the texts that an SDK may have signed for a request: at most 12.

    SDKs differ in whether the signed path includes the prefix, whether the path and the query are
    percent-encoded, and whether ``+`` in the query means a space.

    Yields:
        A text that an SDK may have signed, and the parameters that the text stands for.
    """
    without_prefix = request.path.removeprefix(prefix)
    paths = list(dict.fromkeys((without_prefix, request.path)))
    if "%" in request.path:
        paths += [percent_decode(path) for path in paths]
    method = request.method.upper()
    for signed, meant in _decoded_variants(request.query, parameters):
        query = query_text(signed.items())
        for path in paths:
            yield f"{method}\n{path}\n{query}", meant


def _decoded_variants(
    query: str, parameters: Parameters
) -> Iterator[tuple[Parameters, Parameters]]:
    """Yield the parameters in each encoding that an SDK may have signed.

    Yields:
        The parameters in an encoding that an SDK may have signed, and the decoded parameters.
    """
    yield parameters, parameters
    if "+" in query:
        spaced = read_parameters(decode_query(query.replace("+", " ")))
        yield spaced, spaced
    if "%" in query:
        yield read_parameters(split_query(query)), parameters
