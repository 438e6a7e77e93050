"""Encodes HTTP responses."""

import time
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from twisted.web import http

from reverb.http import Response

_PHRASES = {
    **{status: phrase.decode() for status, phrase in http.RESPONSES.items()},
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


def reason_phrase(status: int) -> str:
    """Return the text that follows a status in a response's first line."""
    return _PHRASES.get(status, "Error")


def encode_response(
    response: Response, *, version: str = "1.1", close: bool = False, has_body: bool = True
) -> bytes:
    """Encode a complete HTTP response, with the headers that every response has.

    Args:
        response: The response.
        version: The client's version of HTTP, such as ``1.1``.
        close: Whether the server closes the connection after the response.
        has_body: Whether to encode the body. A response to HEAD has no body.
    """
    lines = [
        f"HTTP/{version} {response.status} {reason_phrase(response.status)}",
        *_common_headers(int(time.time())),
    ]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if close:
        lines.append("Connection: close")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("latin-1")
    return head + response.body if has_body else head


@lru_cache(maxsize=1)
def _common_headers(second: int) -> tuple[str, str]:
    """Return the headers common to all responses.

    ``Date`` changes once a second, so the headers are cached for one second.
    """
    return "Server: reverb", f"Date: {http.datetimeToString(second).decode()}"


def make_error(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Make a response whose body is an error in JSON.

    Args:
        status: The HTTP status.
        message: A description of the error for the developer of the client.
        headers: Additional headers.
    """
    body = msgspec.json.encode({"error": message})
    length = ("Content-Length", str(len(body)))
    return Response(status, (("Content-Type", "application/json"), length, *headers), body)


def encode_error(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Encode the response of :func:`make_error`, with the header ``Connection: close``."""
    return encode_response(make_error(status, message, (("Connection", "close"), *headers)))
