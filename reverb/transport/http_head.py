"""The head of an HTTP/1.1 request, parsed as strictly as RFC 9112 demands.

If two servers in a row read the same bytes as different requests, a client can hide a request from
the first server (request smuggling). Therefore a head that can be read in two ways is refused.
"""

import re
from typing import NamedTuple

from reverb.http import Request, make_request

MAX_HEADERS = 100
"""The most header lines of a request; Apache has the same limit."""

# The possessive quantifiers (*+, ++) keep the time linear.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++) ([!-~]++) HTTP/([0-9])\.([0-9])")
_ABSOLUTE = re.compile(rb"https?://[^/?#]++", re.IGNORECASE)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):([\t -~\x80-\xff]*+)")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# RFC 3986, 3.2.2, without checking that brackets contain a valid IPv6 address.
_HOST = re.compile(rb"(?:\[[%.0-9:A-Z_a-z~-]++\]|[!$%&'()*+,;=._~0-9A-Za-z-]*+)(?::[0-9]*+)?")
_MAX_LENGTH_DIGITS = 18


class HeadError(Exception):
    """The head of a request is malformed, ambiguous, too large or not supported.

    Args:
        status: The HTTP status of the response.
        message: A description of the error for the developer of the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestHead(NamedTuple):
    """The head of a request."""

    method: bytes
    target: bytes
    """The path and the query, without scheme and host; ``*`` for ``OPTIONS *``."""
    version: bytes
    """``1.1`` or ``1.0``."""
    header_lines: bytes
    """The header lines, each with a line end."""
    length: int | None
    """The length of the body in bytes; None for a body in chunks."""
    expects_continue: bool
    """Whether the client waits for ``100 Continue`` before it sends the body."""
    close: bool
    """Whether the connection ends after the response."""

    def framing_lines(self) -> list[bytes]:
        """Return the lines of a short head, which twisted.web reads instead of the client's head.

        The short head contains only the headers that determine where the request ends, and whether
        the connection ends after the response.
        """
        lines = [b"POST / HTTP/%b" % self.version]
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.length:
            lines.append(b"Content-Length: %d" % self.length)
        if self.close:
            lines.append(b"Connection: close")
        return [*lines, b""]

    def make_request(self) -> Request:
        """Return the request that is passed to a handler."""
        return make_request(self.method, self.target, self.header_lines, has_body=self.length != 0)


def parse_head(lines: list[bytes]) -> RequestHead:
    """Parse the head of a request.

    Args:
        lines: The request line and the header lines, without line ends and without the empty line
            that ends the head.

    Raises:
        HeadError: The head is malformed, ambiguous or not supported, or has too many headers.
    """
    method, target, version = _parse_request_line(lines[0])
    if len(lines) > MAX_HEADERS + 1:
        raise HeadError(431, f"Too many headers: the limit is {MAX_HEADERS}")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        name, value = _parse_header(line)
        headers.setdefault(name.lower(), []).append(value.strip(b"\t "))
    _check_host(headers.get(b"host", []), version)
    return RequestHead(
        method,
        target,
        version,
        b"".join([line + b"\r\n" for line in lines[1:]]),
        _parse_length(headers, version),
        version == b"1.1" and headers.get(b"expect", [b""])[0].lower() == b"100-continue",
        version == b"1.0" or b"close" in b",".join(headers.get(b"connection", [])).lower(),
    )


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        _check_controls(line)
        raise HeadError(400, "Bad request line: expected METHOD TARGET HTTP/1.1, in ASCII")
    method, target, major, minor = match.groups()
    version = major + b"." + minor
    if version not in (b"1.1", b"1.0"):
        raise HeadError(505, f"HTTP/{version.decode()} is not supported: use HTTP/1.1")
    return method, _parse_target(method, target), version


def _parse_target(method: bytes, target: bytes) -> bytes:
    """Return the target without scheme and host, in the origin form (RFC 9112, 3.2)."""
    if absolute := _ABSOLUTE.match(target):
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        raise HeadError(400, "Bad request target: expected a path, such as /apps/ID/events")
    return target


def _parse_header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    if match is not None:
        return match[1], match[2]
    _check_controls(line)
    if line[:1] in (b" ", b"\t"):
        raise HeadError(400, "Bad header: a line begins with white space (folded lines)")
    name, colon, _ = line.partition(b":")
    shown = name[:60].decode("latin-1")
    if colon and name.endswith((b" ", b"\t")):
        raise HeadError(400, f"Bad header {shown!r}: white space before the colon")
    raise HeadError(400, f"Bad header {shown!r}: expected NAME: VALUE")


def _check_controls(line: bytes) -> None:
    if _CONTROL.search(line):
        raise HeadError(400, "Bad request: control characters in the head")


def _check_host(values: list[bytes], version: bytes) -> None:
    """Raise HeadError if the Host header is missing, repeated or malformed (RFC 9112, 3.2)."""
    if len(values) > 1:
        raise HeadError(400, "Bad Host: the request has several Host headers")
    if not values and version == b"1.1":
        raise HeadError(400, "Missing Host: an HTTP/1.1 request must have a Host header")
    if values and not _HOST.fullmatch(values[0]):
        raise HeadError(400, "Bad Host: expected a host name or an address, and optionally a port")


def _parse_length(headers: dict[bytes, list[bytes]], version: bytes) -> int | None:
    """Return the length of the body in bytes, or None for a body in chunks (RFC 9112, 6)."""
    codings = headers.get(b"transfer-encoding", [])
    lengths = headers.get(b"content-length", [])
    if codings:
        if version == b"1.0":
            raise HeadError(400, "Bad Transfer-Encoding: HTTP/1.0 does not have it")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise HeadError(400, "Bad Transfer-Encoding: the only supported value is chunked")
        if lengths:
            raise HeadError(400, "Bad Content-Length: the request has Transfer-Encoding too")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise HeadError(400, "Bad Content-Length: the request has several")
    if not lengths[0].isdigit():
        raise HeadError(400, "Bad Content-Length: expected a number of bytes")
    if len(lengths[0]) > _MAX_LENGTH_DIGITS:
        raise HeadError(413, "Bad Content-Length: no body may be that large")
    return int(lengths[0])


class HeadReader:
    """Collects the lines of a head until the head is complete.

    Args:
        max_bytes: The maximum size of a head in bytes.

    Attributes:
        lines: The lines of an incomplete head.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.lines: list[bytes] = []
        self._size = 0
        self._skipped = False

    def add(self, line: bytes) -> RequestHead | None:
        """Add a line, given without line end; return the head if the line completes the head.

        One empty line before the request line is skipped (RFC 9112, 2.2).

        Raises:
            HeadError: The head is malformed, ambiguous, too large or not supported.
        """
        if not line and not self.lines and not self._skipped:
            self._skipped = True
            return None
        self._size += len(line) + 2
        if self._size > self._max_bytes:
            raise self.too_large()
        if line:
            self.lines.append(line)
            if len(self.lines) <= MAX_HEADERS + 1:
                return None
        lines, self.lines = self.lines or [b""], []
        self._size, self._skipped = 0, False
        return parse_head(lines)

    def too_large(self) -> HeadError:
        """Return the error for a head that is larger than ``max_bytes``."""
        return HeadError(
            431, f"The request's head exceeds the allowed maximum ({self._max_bytes} bytes)"
        )
