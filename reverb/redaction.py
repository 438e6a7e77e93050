"""Keeps secrets out of the texts that objects and errors become: logs, tracebacks, consoles."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import inspect

HIDDEN = "<hidden>"
"""What stands in place of a secret."""
Password = Annotated[str, msgspec.Meta(extra={"is_secret": True})]
"""A string that no text may show; empty if there is none."""


class RedactedStruct(msgspec.Struct, frozen=True):
    """A struct whose ``repr`` hides its secrets.

    ``msgspec.Meta(extra=...)`` of a field's type marks it: ``is_secret`` if no text may show its
    value, ``has_secret`` if an error message knows what it may show. An empty value is shown,
    because it hides nothing. To store or send the struct, encode it: that is complete.
    """

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the fields as the library rich shows them: also without secrets."""
        hidden = _hidden_names(type(self))
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return [(name, _HIDDEN if value and name in hidden else value) for name, value in values]


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


_HIDDEN = _Hidden()


@cache
def _hidden_names(struct: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(
        field.name
        for field in msgspec.structs.fields(struct)
        if _is_marked(field.type, "is_secret", "has_secret")
    )


def is_secret(kind: object) -> bool:
    """Return whether no text may show a value of the type."""
    return _is_marked(kind, "is_secret")


def _is_marked(kind: object, *marks: str) -> bool:
    described = inspect.type_info(kind)
    extra = described.extra if isinstance(described, inspect.Metadata) else None
    return any((extra or {}).get(mark) for mark in marks)


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in a text that another program has written."""
    for secret in filter(None, secrets):
        text = text.replace(secret, HIDDEN)
    return text
