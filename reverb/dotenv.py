"""Reads environment variables by the rules of phpdotenv, which reads the ``.env`` of Laravel.

Docker's ``--env-file`` does not parse the values of a ``.env`` file: a value keeps its quotes, the
comment behind it, and references such as ``${APP_NAME}``. :func:`read_variable` gives such a value
the meaning that it has for the Laravel application, or refuses it.

Source: vlucas/phpdotenv 5, ``Parser/EntryParser.php`` and ``Loader/Resolver.php``.
"""

import re
from collections.abc import Callable, Mapping

_UNSET = ("", "null", "(null)", "empty", "(empty)")
"""The words that Laravel's ``env()`` reads as nothing."""
_SINGLE_QUOTED = re.compile(r"'([^']*)'\s*(?:#.*)?", re.DOTALL)
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_COMMENT = re.compile(r"\s#.*|\A#(?=\s|\Z).*", re.DOTALL)
_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_ESCAPE_OR_REFERENCE = re.compile(rf"\\(.)|{_REFERENCE.pattern}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.]+")
_ESCAPES = {"f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\", "$": "$"}
_ADVICE = "to use the value as it is, put it in single quotes"


class VariableError(ValueError):
    """A variable cannot be read. The text names the variable, and does not show the value."""


def read_variable(environ: Mapping[str, str], name: str) -> str:
    """Read a variable.

    Args:
        environ: The environment.
        name: The variable's name.

    Returns:
        The value, which is empty if the variable is not set, or has one of the values that Laravel
        reads as nothing, such as ``null``.

    Raises:
        VariableError: The value is not UTF-8, or is malformed by phpdotenv's rules, or refers to a
            variable that is not set, or has a ``#`` of which the meaning is not clear.
    """
    try:
        value = _expand(environ, name, ())
    except ValueError as error:
        raise VariableError(f"{name}: {error}") from None
    return "" if value.strip().lower() in _UNSET else value


def _expand(environ: Mapping[str, str], name: str, outer: tuple[str, ...]) -> str:
    """Parse a variable's value, and the values of the variables that it refers to.

    Args:
        environ: The environment.
        name: The variable's name.
        outer: The names of the variables whose values are being parsed.
    """

    def resolve(reference: re.Match[str]) -> str:
        inner, end = reference[reference.re.groups - 1], reference[reference.re.groups]
        if not end or not _NAME.fullmatch(inner):
            raise ValueError(f"contains ${{ without a variable's name and }}; {_ADVICE}")
        if inner not in environ:
            raise ValueError(f"refers to ${{{inner}}}, which is not set; {_ADVICE}")
        if inner in (*outer, name):
            raise ValueError(f"refers to ${{{inner}}}, which refers to it in turn")
        return _expand(environ, inner, (*outer, name))

    return _parse(_require_utf8(environ.get(name, "")).strip(), resolve)


def _require_utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return text


def _parse(text: str, resolve: Callable[[re.Match[str]], str]) -> str:
    """Remove the quotes and the comment, and replace the references, unless in single quotes."""
    if text.startswith("'"):
        return _match_quoted(_SINGLE_QUOTED, text)
    if text.startswith('"'):
        inner = _match_quoted(_DOUBLE_QUOTED, text)
        return _ESCAPE_OR_REFERENCE.sub(
            lambda match: _unescape(match[1]) if match[1] else resolve(match), inner
        )
    value = _COMMENT.sub("", text, count=1).rstrip()
    if "#" in value:
        raise ValueError(
            "has a # without a space before it, with which a comment begins in a .env file; put "
            "the value in quotes, or remove the comment"
        )
    return _REFERENCE.sub(resolve, value)


def _match_quoted(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(
            f"begins with a quote ({text[0]}), but does not end with one; remove the quote, or put "
            "the value in other quotes"
        )
    return match[1]


def _unescape(character: str) -> str:
    if character not in _ESCAPES:
        raise ValueError(
            "has a backslash in double quotes that does not belong to one of "
            '\\" \\\\ \\$ \\f \\n \\r \\t \\v; use single quotes, or double the backslash'
        )
    return _ESCAPES[character]
