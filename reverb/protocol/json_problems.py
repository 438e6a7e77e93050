"""Describes to the sender of a JSON text what is wrong with the text.

The texts name the keys and the types of JSON. The decoder's own texts are not shown to clients,
because they name types of Python.
"""

import re

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions that a decoder raises for invalid JSON, or for JSON of the wrong shape."""

_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_NOT_UTF_8 = "it is not UTF-8"
_MAX_KEY = 60
_PATH = re.compile(r" - at `\$\.?([^`]*+)`\Z")
_MISMATCH = re.compile(r"Expected `([^`]++)`, got `([^`]++)`")
_MISSING = re.compile(r"Object missing required field `([^`]++)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_AT_BYTE = re.compile(r"\(byte ([0-9]++)\)")


def json_problem(error: Exception) -> str:
    """Describe a decoder's error for the sender of the JSON.

    Args:
        error: An exception of one of the types in :data:`NOT_JSON`.

    Returns:
        A clause such as ``channel must be a string, not a whole number``.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return _NOT_UTF_8  # Older decoders count from the beginning of the string, not of the text.
    if isinstance(error, msgspec.ValidationError):
        return _shape_problem(str(error))
    return _syntax_problem(str(error))


def _shape_problem(text: str) -> str:
    """Describe a value that is JSON, but has the wrong type."""
    path = ""
    if found := _PATH.search(text):
        path, text = found[1], text[: found.start()]
    if found := _MISMATCH.match(text):
        expected, given = map(_describe_types, found.groups())
        return f"{path or 'it'} must be {expected}, not {given}"
    if found := _MISSING.match(text):
        return f"{_join(path, found[1])} is missing"
    if found := _UNKNOWN.match(text):
        return f"{_join(path, found[1][:_MAX_KEY])} is not a known key"
    if "out of range" in text:
        return f"{path or 'it'} is too large a number"
    return f"{path or 'it'} has a value that is not allowed"


def _syntax_problem(text: str) -> str:
    """Describe a text that is not JSON."""
    if "truncated" in text:
        # The decoder reports half of a surrogate pair, such as "\ud83d", as truncated, too.
        return "it ends too early, or has half of a surrogate pair"
    if "UTF-8" in text:
        return _NOT_UTF_8
    problem = "it has half of a surrogate pair" if "surrogate" in text else "the syntax is wrong"
    found = _AT_BYTE.search(text)
    return f"{problem} at byte {found[1]}" if found else problem


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _describe_types(types: str) -> str:
    """Describe the types of a union, such as ``str | null``."""
    names = types.split(" | ")
    if "float" in names:
        names = [name for name in names if name != "int"]
    return " or ".join(_TYPES.get(name, "another type") for name in names)
