"""JSON responses of the HTTP API, and the exception that is sent as one.

:func:`reverb.transport.http.encode_response` adds the headers that all responses have.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

Headers = Iterable[tuple[str, str]]


class ApiError(Exception):
    """The server refuses a request or fails to handle it. The client receives the error as JSON.

    Args:
        status: The HTTP status of the response.
        message: What is wrong and what was expected, for the client's developer.
        headers: Additional headers of the response.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class Request(Protocol):
    """The part of a twisted.web request that resources use."""

    method: bytes
    uri: bytes
    path: bytes
    requestHeaders: Any
    content: Any
    channel: object
    """None when the client has disconnected."""

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send the complete response and finish the request."""

    def notifyFinish(self) -> "Deferred[None]":
        """Return a Deferred that fires when the response has been sent.

        It fails if the client disconnects before.
        """


def send_json(request: Request, status: int, content: Any, headers: Headers = ()) -> None:
    """Send a JSON response and finish the request.

    Args:
        request: The request.
        status: The HTTP status.
        content: A value that msgspec can encode as JSON.
        headers: Headers in addition to Content-Type and Content-Length.
    """
    body = msgspec.json.encode(content)
    length = ("Content-Length", str(len(body)))
    request.respond(status, [("Content-Type", "application/json"), length, *headers], body)


def send_error(request: Request, error: ApiError) -> None:
    """Send an error as a JSON response and finish the request."""
    send_json(request, error.status, {"error": error.message}, error.headers.items())
