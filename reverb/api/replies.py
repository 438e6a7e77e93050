"""What every request of the API gets back: JSON, and errors that can be acted on."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

Headers = Iterable[tuple[str, str]]


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        message: What is wrong and what was expected, for a developer.
        headers: More headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Request(Protocol):
    """What resources need of a request."""

    method: bytes
    uri: bytes
    path: bytes
    requestHeaders: Any
    content: Any
    channel: object
    """None when the client has gone."""

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send the whole answer, and finish."""

    def notifyFinish(self) -> "Deferred[None]":
        """Get told when the request is answered, or its client gone."""


def reply(request: Request, status: int, answer: Any, headers: Headers = ()) -> None:
    """Answer a request with JSON, and finish it."""
    body = msgspec.json.encode(answer)
    length = ("Content-Length", str(len(body)))
    request.respond(status, [("Content-Type", "application/json"), length, *headers], body)


def reply_error(request: Request, error: ApiError) -> None:
    """Answer a request with what is wrong with it, and finish it."""
    reply(request, error.status, {"error": error.message}, error.headers.items())
