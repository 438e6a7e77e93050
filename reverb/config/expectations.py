"""Describes, for error messages, the values that a setting accepts."""

from typing import Any

from msgspec import inspect


def describe_expected(kind: Any) -> str:
    """Return a description of the values of a type, for an error message after "expected".

    Args:
        kind: The type of the setting's field.
    """
    match inspect.type_info(kind):
        case inspect.IntType(ge=low, le=high):
            expected = f"a whole number from {low} to {high}"
        case inspect.BoolType():
            expected = "true or false"
        case inspect.LiteralType(values=values):
            expected = f"one of {', '.join(map(repr, values))}"
        case inspect.VarTupleType(item_type=item):
            expected = f"a list of {_describe_items(item)}"
        case inspect.DictType():
            expected = (
                "a table of HTTP headers in printable ASCII, without the headers that every "
                "webhook request has, such as Content-Type and X-Pusher-Key"
            )
        case inspect.StrType(pattern=str(pattern)):
            expected = _describe_string(pattern)
        case inspect.StrType(min_length=1):
            expected = "a string that is not empty"
        case _:
            expected = "a string"
    return expected


def _describe_string(pattern: str) -> str:
    if pattern.startswith("^https?:"):
        return "an http:// or https:// URL of ASCII characters, without user, password or fragment"
    return "a string of letters, digits and - . _ ~"


def _describe_items(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType(pattern=str()):
            return "hosts, such as 'example.com' or '*.example.com', without scheme or port"
        case inspect.LiteralType(values=values):
            return f"one or more of {', '.join(map(repr, values))}"
    return "strings"
