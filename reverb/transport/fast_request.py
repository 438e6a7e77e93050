"""A short way for what nearly every API request is: complete, small and plain.

twisted.web's parser reads line by line, and knows all that HTTP/1.1 allows; it
costs ten times as much. A request whose head has nothing but a length and
headers that change nothing is read here, everything else by twisted.web.
"""

import re
from typing import NamedTuple

_HEAD = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n)*)\r\n"
)
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,9})[ \t]*\r$", re.MULTILINE)
_KEEP_ALIVE = re.compile(rb"^connection:[ \t]*keep-alive[ \t]*\r$", re.MULTILINE)
# Whatever says more about the body or the connection than its length.
_SPECIAL = re.compile(rb"transfer-encoding|expect|upgrade|http2-settings")
_LARGEST = 65_536
_MOST_LINES = 100


class FastRequestHead(NamedTuple):
    """The head of a plain request."""

    method: bytes
    uri: bytes
    headers: bytes
    """The header lines as they came."""
    body_begins: int
    """Where the head ends in what was received."""
    body_ends: int


def parse_fast_request(data: bytes) -> FastRequestHead | None:
    """Read the head of a request, if it is of the plain kind.

    Args:
        data: What has been received, beginning with a request.

    Returns:
        The head, whether or not the whole body is there; None when it is not
        plain or not complete.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    method, uri, lines = match.groups()
    headers = lines.lower()
    length = 0
    if b"content-length" in headers:
        lengths = _LENGTH.findall(headers)
        if len(lengths) != 1 or headers.count(b"content-length") != 1:
            return None
        length = int(lengths[0])
    if length > _LARGEST or _SPECIAL.search(headers):
        return None
    if b"connection" in headers and (
        headers.count(b"connection") > 1 or not _KEEP_ALIVE.search(headers)
    ):
        return None
    if headers.count(b"\n") > _MOST_LINES:
        return None
    return FastRequestHead(method, uri, lines, match.end(), match.end() + length)
