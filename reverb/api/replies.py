"""What every request of the API gets back: JSON, and errors that can be acted on."""

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.web.server import Request


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
    request.setResponseCode(status)
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
