"""HTTP requests and responses as values, and the type of a handler.

A handler knows nothing of connections, and the transport knows nothing of routes.
"""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple


class Headers:
    """The headers of a request, parsed on first use.

    Args:
        lines: The header lines as received, each with a line end.
    """

    __slots__ = ("_lines", "_values")

    def __init__(self, lines: bytes) -> None:
        self._lines = lines
        self._values: dict[str, str] | None = None

    def get(self, name: str) -> str | None:
        """Return the value of a header, or None if the request does not have it.

        Args:
            name: The name of the header, in any case.

        Returns:
            The value. The values of a header that occurs several times are joined with commas
            (RFC 9110, 5.3).
        """
        if self._values is None:
            self._values = _parse_header_lines(self._lines)
        return self._values.get(name.lower())


def _parse_header_lines(lines: bytes) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        values.setdefault(name.lower(), []).append(value.strip(" \t"))
    return {name: ", ".join(repeated) for name, repeated in values.items()}


class Request(NamedTuple):
    """The head of an HTTP request."""

    method: str
    path: str
    """The path as received, still percent-encoded, without the query."""
    query: str
    """The query string as received, still percent-encoded; empty if there is none."""
    headers: Headers
    has_body: bool
    """Whether the request has a body."""


class Response(NamedTuple):
    """A complete response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """All headers that are specific to this response, including those that describe the body."""
    body: bytes = b""


BodyHandler = Callable[[bytes], Response | Coroutine[Any, Any, Response]]
"""A function that gets a request's body, and returns the response or a coroutine for it.

Neither the body handler nor the coroutine raises an exception. The coroutine may await Deferreds,
and runs to its end even if the client disconnects.
"""

Answer = Response | BodyHandler
"""The result of a handler: a response, which is sent before the request's body is read, or a body
handler. The body handler gets the body, which is empty if the request has none."""

Handler = Callable[[Request], Answer | Coroutine[Any, Any, Answer]]
"""A function that gets a request's head, and returns the answer or a coroutine for it.

Neither the handler nor the coroutine raises an exception.
"""


def make_request(method: bytes, target: bytes, header_lines: bytes, *, has_body: bool) -> Request:
    """Make a request from the bytes that a client has sent.

    Args:
        method: The HTTP method.
        target: The request target: the path with the query, if any.
        header_lines: The header lines, each with a line end.
        has_body: Whether the request has a body.
    """
    path, _, query = target.decode("latin-1").partition("?")
    headers = Headers(header_lines)
    return Request(method.decode("latin-1"), path, query, headers, has_body)
