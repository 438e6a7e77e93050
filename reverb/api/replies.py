"""What every request of the API gets back: JSON, and errors that can be acted on."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from twisted.web import http
from twisted.web.server import Request

_PHRASES = {
    **http.RESPONSES,
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
}


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        sentence: What is wrong and what was expected, for a developer.
        headers: More headers of the answer.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


def reply(request: Request, status: int, answer: Any) -> None:
    """Answer a request with JSON, and finish it."""
    body = msgspec.json.encode(answer)
    request.setResponseCode(status, _PHRASES.get(status))
    headers = request.responseHeaders
    headers.setRawHeaders(b"Content-Type", [b"application/json"])
    headers.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    request.write(body)
    request.finish()


def reply_error(request: Request, error: ApiError) -> None:
    """Answer a request with what is wrong with it, and finish it."""
    for name, value in error.headers.items():
        request.responseHeaders.setRawHeaders(name, [value])
    reply(request, error.status, {"error": error.sentence})


def raw_error(status: int, sentence: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Make a whole HTTP response that refuses a request and ends the connection.

    For requests that are refused before they are complete.

    Args:
        status: The HTTP status.
        sentence: What is wrong, for the client's developer.
        headers: More headers.
    """
    body = msgspec.json.encode({"error": sentence})
    phrase = _PHRASES.get(status, b"Error").decode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
