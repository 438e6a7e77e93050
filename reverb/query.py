"""Splits and percent-decodes query strings.

Anyone may send a query of 16 KB without a signature. urllib takes 2 to 7 ms to decode a query of
16 KB, and the server serves no other client during this time. The functions of this module are ten
times as fast as urllib, and take a time that is linear in the length of the query.
"""

import re

MAX_PARAMETERS = 128
"""The most parameters of a query. An event that is published in a query has up to 100 parameters
for channels and 10 others."""
_MAX_MALFORMED = 64
"""The most malformed escapes: percent signs without two hexadecimal digits. Some SDKs escape
nothing, so ``50%`` is accepted. But a malformed escape takes longer to decode than a valid one."""
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")

_SEPARATOR = "\u0100"
"""A character outside Latin-1, so that neither a received query nor an escape contains it."""
_ESCAPED_SEPARATOR = r"\u0100"


class QueryError(ValueError):
    """A query or a path is invalid. The error's text is a sentence for the client's developer."""


def split_query(text: str) -> list[tuple[str, str]]:
    """Return the names and values in a query string, in order, still percent-encoded.

    A parameter without ``=`` gets an empty value.

    Args:
        text: The query string as received.

    Raises:
        QueryError: The query has more than :data:`MAX_PARAMETERS` parameters.
    """
    count = text.count("&") + 1
    if count > MAX_PARAMETERS:
        raise QueryError(
            f"Too many query parameters: {count}, but the limit is {MAX_PARAMETERS}; "
            "send them as JSON in the body"
        )
    return [part.partition("=")[::2] for part in text.split("&") if part]


def decode_query(text: str) -> list[tuple[str, str]]:
    """Return the names and values in a query string, in order, percent-decoded.

    The character ``+`` stays as it is.

    Args:
        text: The query string as received.

    Raises:
        QueryError: The query has too many parameters, or too many malformed escapes.
    """
    if "%" not in text:
        return split_query(text)
    pairs = split_query(_escape_backslashes(text))
    # One call decodes all parameters, because a call costs more than the characters.
    joined = _ESCAPED_SEPARATOR.join([part for pair in pairs for part in pair])
    parts = [_decode_utf8(part) for part in _unescape(joined).split(_SEPARATOR)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def percent_decode(text: str) -> str:
    """Decode the percent-encoded bytes of a text as UTF-8 (RFC 3986, 2.1).

    The character ``+`` and malformed escapes stay as they are. A malformed escape is a percent sign
    without two hexadecimal digits after it.

    Args:
        text: A part of a URL, decoded as Latin-1.

    Returns:
        The decoded text, with U+FFFD for bytes that are not UTF-8.

    Raises:
        QueryError: The text has more than 64 malformed escapes.
    """
    return _decode_utf8(_unescape(_escape_backslashes(text))) if "%" in text else text


def _escape_backslashes(text: str) -> str:
    return text.replace("\\", r"\\")


def _unescape(text: str) -> str:
    """Replace each percent-encoded byte by its Latin-1 character.

    Args:
        text: A text of Latin-1 characters, in which a backslash begins one of Python's escapes.

    Returns:
        The text, in which Python's escapes have been replaced too.
    """
    try:
        return _unescape_well_formed(text)
    except UnicodeDecodeError:
        text, malformed = _MALFORMED.subn("%25", text, count=_MAX_MALFORMED + 1)
    if malformed > _MAX_MALFORMED:
        raise QueryError(
            f"More than {_MAX_MALFORMED} percent signs without two hexadecimal digits: "
            "write a percent sign as %25"
        )
    return _unescape_well_formed(text)


def _unescape_well_formed(text: str) -> str:
    # Python's decoder of string escapes is written in C, and ten times as fast as a loop.
    return text.replace("%", r"\x").encode("latin-1").decode("unicode_escape")


def _decode_utf8(text: str) -> str:
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")
