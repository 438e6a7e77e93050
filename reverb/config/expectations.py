"""What a setting may be, in the words of an error message."""

from typing import Any

from msgspec import inspect


def expectation(kind: Any) -> str:
    """Say what values a field takes, after "expected".

    Args:
        kind: The field's type.
    """
    match inspect.type_info(kind):
        case inspect.IntType(ge=low, le=high):
            words = f"a whole number from {low} to {high}"
        case inspect.BoolType():
            words = "true or false"
        case inspect.LiteralType(values=values):
            words = f"one of {', '.join(map(repr, values))}"
        case inspect.VarTupleType(item_type=item):
            words = f"a list of {_expected_items(item)}"
        case inspect.DictType():
            words = (
                "a table of HTTP headers, of printable ASCII and without those that every webhook "
                "has, such as Content-Type and X-Pusher-Key"
            )
        case inspect.StrType(pattern=str(pattern)):
            words = _expected_text(pattern)
        case inspect.StrType(min_length=1):
            words = "a string that is not empty"
        case _:
            words = "a string"
    return words


def _expected_text(pattern: str) -> str:
    if pattern.startswith("^https?:"):
        return "an http:// or https:// URL of ASCII characters, without user, password and fragment"
    return "a string of letters, digits and - . _ ~"


def _expected_items(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType(pattern=str()):
            return "hosts, such as 'example.com' or '*.example.com', without scheme or port"
        case inspect.LiteralType(values=values):
            return f"one or more of {', '.join(map(repr, values))}"
    return "strings"
