"""HTTP requests and responses as values, and the type of a handler.

A handler knows nothing of connections, and the transport knows nothing of routes.
"""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import unquote


class Query:
    """The parameters of a query string, in order, parsed on first use.

    A ``+`` is not decoded to a space.

    Args:
        text: The query string as received, still percent-encoded.
    """

    __slots__ = ("_pairs", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._pairs: list[tuple[str, str]] | None = None

    @property
    def raw(self) -> list[tuple[str, str]]:
        """The names and values of the parameters, still percent-encoded."""
        parts = [part.partition("=") for part in self._text.split("&") if part]
        return [(name, value) for name, _, value in parts]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The names and values of the parameters, percent-decoded."""
        if self._pairs is None:
            self._pairs = self.raw
            if "%" in self._text:
                self._pairs = [(unquote(name), unquote(value)) for name, value in self._pairs]
        return self._pairs

    def get(self, name: str) -> str | None:
        """Return the last value of a parameter, or None if the query does not contain it."""
        return next((value for n, value in reversed(self.pairs) if n == name), None)

    def get_array(self, name: str) -> list[str]:
        """Return all values of an array, sent as ``name[]=a&name[]=b`` or as ``name[0]=a``."""
        start = name + "["
        return [value for n, value in self.pairs if n.startswith(start)]


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
    values: dict[str, str] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        values[name] = f"{values[name]}, {value}" if name in values else value
    return values


class Request(NamedTuple):
    """A complete request."""

    method: str
    path: str
    """The path as received, still percent-encoded, without the query."""
    query: Query
    headers: Headers
    body: bytes


class Response(NamedTuple):
    """A complete response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """All headers that are specific to this response, including those that describe the body."""
    body: bytes = b""


Handler = Callable[[Request], Response | Coroutine[Any, Any, Response]]
"""A function that returns the response to a request, or a coroutine that returns the response.

Neither the function nor the coroutine raises an exception. The coroutine may await Deferreds, and
runs to its end even if the client disconnects.
"""


def make_request(method: bytes, target: bytes, header_lines: bytes, body: bytes) -> Request:
    """Make a request from the bytes that a client has sent.

    Args:
        method: The HTTP method.
        target: The request target: the path with the query, if any.
        header_lines: The header lines, each with a line end.
        body: The body, with any transfer encoding removed.
    """
    path, _, query = target.decode("latin-1").partition("?")
    return Request(method.decode("latin-1"), path, Query(query), Headers(header_lines), body)
