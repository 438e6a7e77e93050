"""Makes the JSON responses of the HTTP API, from content and from exceptions."""

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.python.failure import Failure

from reverb.http import Request, Response
from reverb.interfaces import StoreRefusedError
from reverb.query import QueryError
from reverb.throttled_log import FailureLog
from reverb.webhooks.interfaces import ClusterStoreLostError


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


def make_json_response(
    content: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Make a response whose body is JSON.

    Args:
        content: A value that msgspec can encode as JSON.
        status: The HTTP status.
        headers: Headers in addition to Content-Type and Content-Length.
    """
    body = msgspec.json.encode(content)
    length = ("Content-Length", str(len(body)))
    return Response(status, (("Content-Type", "application/json"), length, *headers), body)


def make_publish_response(content: Any, *, all_nodes: bool) -> Response:
    """Make the response to a request that publishes.

    The response has the header ``Reverb-Reached: this-node`` if an event was not sent to all nodes.

    Args:
        content: A value that msgspec can encode as JSON.
        all_nodes: Whether all events of the request were sent to all nodes.
    """
    return make_json_response(
        content, headers=() if all_nodes else (("Reverb-Reached", "this-node"),)
    )


def make_error_response(error: Exception, request: Request, log: FailureLog) -> Response:
    """Make the response to a request whose handler raised an exception.

    Args:
        error: The exception that the handler raised.
        request: The request.
        log: Logs the exception if it is unexpected. :func:`make_error_response` must be called in
            the ``except`` clause, so that the log has the traceback.
    """
    error = _to_api_error(error, request, log)
    return make_json_response({"error": error.message}, error.status, tuple(error.headers.items()))


def _to_api_error(error: Exception, request: Request, log: FailureLog) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueryError):
        return ApiError(400, str(error))
    if isinstance(error, StoreRefusedError):  # The store has logged it.
        return ApiError(500, "The server's stored data is unusable: see the server's log")
    if isinstance(error, ClusterStoreLostError):
        return ApiError(
            503,
            "Webhooks are stored in Redis, which is unreachable: see the server's log",
            {"Retry-After": "5"},
        )
    log.failure(
        "failed to handle {method} {path}",
        Failure(error),
        method=request.method,
        path=ascii(request.path)[1:-1],
    )
    return ApiError(500, "Internal server error: see the server's log")
