"""The fast path for nearly every API request: small, well-formed, and without special headers.

The parser of twisted.web reads line by line, supports all of HTTP/1.1, and costs ten times as much
as the fast path. The fast path accepts a GET or POST request whose body has a known length of at
most 64 KB, and whose headers do not change how the request is read. twisted.web reads the requests
that the fast path does not accept.
"""

import re
from typing import NamedTuple

from reverb.http import Request, make_request
from reverb.memoize import memoize_short_keys
from reverb.transport.http_head import MAX_HEADERS

# The possessive quantifiers (*+) prevent backtracking, so the time is linear.
_HEAD = re.compile(
    rb"(GET|POST) (/[!-~]*+) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)*+)\r\n"
)
_LENGTH = re.compile(rb"^content-length:[ \t]*+([0-9]{1,9})[ \t]*+\r$", re.MULTILINE)
_HOST = re.compile(rb"host:[ \t]*+(?:[.0-9a-z_-]++(?::[0-9]*+)?[ \t]*+)?\r\n")
_KEEP_ALIVE = re.compile(rb"^connection:[ \t]*+keep-alive[ \t]*+\r$", re.MULTILINE)
# Headers other than the length that change how the body or the connection is handled.
_SPECIAL = re.compile(rb"transfer-encoding|expect|upgrade|http2-settings")
_MAX_BODY_BYTES = 65_536


class FastRequestHead(NamedTuple):
    """The head of a request that the fast path can read."""

    method: bytes
    uri: bytes
    headers: bytes
    """The header lines as they were received."""
    body_start: int
    """The index in the received bytes at which the body begins."""
    body_end: int
    """The index at which the body ends, beyond the received bytes if the body is incomplete."""

    @property
    def length(self) -> int:
        """The length of the body in bytes."""
        return self.body_end - self.body_start

    def make_request(self) -> Request:
        """Return the request that is passed to a handler."""
        has_body = self.body_end > self.body_start
        return make_request(self.method, self.uri, self.headers, has_body=has_body)


def parse_fast_request(data: bytes) -> FastRequestHead | None:
    """Parse the head of a request if the fast path can read the request.

    Args:
        data: The received bytes, from the beginning of a request.

    Returns:
        The head, even if the body is incomplete. None when the head is incomplete, or when
        twisted.web's parser must read the request.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    method, uri, lines = match.groups()
    length = _body_length(lines)
    if length is None:
        return None
    return FastRequestHead(method, uri, lines, match.end(), match.end() + length)


def _read_headers(lines: bytes) -> int | None:
    """Return the length of the body; None if the headers do not allow the fast path.

    Args:
        lines: The header lines as they were received.
    """
    headers = lines.lower()
    length = _parse_length(headers)
    if length is None or length > _MAX_BODY_BYTES or not _is_common(headers):
        return None
    return length


# A publisher sends the same headers again and again.
_body_length = memoize_short_keys(_read_headers, max_entries=512, max_length=1_024)


def _parse_length(headers: bytes) -> int | None:
    """Return the length of the body in bytes.

    Return None if twisted.web must parse the Content-Length header.
    """
    if b"content-length" not in headers:
        return 0
    lengths = _LENGTH.findall(headers)
    if len(lengths) != 1 or headers.count(b"content-length") != 1:
        return None
    return int(lengths[0])


def _is_common(headers: bytes) -> bool:
    """Return whether the headers, apart from Content-Length, allow the fast path.

    The fast path allows at most ``MAX_HEADERS`` header lines. The fast path requires exactly one
    Host header, which matches ``_HOST``. The headers must not match ``_SPECIAL``. A Connection
    header must be ``keep-alive``.

    Args:
        headers: The header lines in lower case.
    """
    if headers.count(b"\n") > MAX_HEADERS or _SPECIAL.search(headers):
        return False
    start = 0 if headers.startswith(b"host:") else headers.find(b"\nhost:") + 1
    if not _HOST.match(headers, start) or headers.find(b"\nhost:", start) >= 0:
        return False
    connections = headers.count(b"connection")
    return not connections or (connections == 1 and _KEEP_ALIVE.search(headers) is not None)
