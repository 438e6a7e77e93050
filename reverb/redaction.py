"""Keeps secrets out of the texts that describe objects and errors in logs and tracebacks."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import inspect

HIDDEN = "<hidden>"
"""The text that replaces a secret."""
Password = Annotated[str, msgspec.Meta(extra={"is_secret": True})]
"""The type of a password, which no text may show; an empty string means no password."""


class RedactedStruct(msgspec.Struct, frozen=True):
    """A struct whose ``repr`` hides the values of its secret fields, unless they are empty.

    A field is secret if ``msgspec.Meta(extra=...)`` of the field's type has the key
    ``is_secret`` or ``has_secret``. The key ``is_secret`` means that no text may show the value.
    The key ``has_secret`` means that a part of the value is secret, such as the password in a URL.
    If the key is ``has_secret``, ``repr`` hides the whole value, and an error message hides only
    the secret part. The encoded struct contains all values, including the secret ones.
    """

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the fields that the library rich shows, with the secrets hidden."""
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
    """Return whether a type is marked ``is_secret``: no text may show a value of the type."""
    return _is_marked(kind, "is_secret")


def _is_marked(kind: object, *marks: str) -> bool:
    described = inspect.type_info(kind)
    extra = described.extra if isinstance(described, inspect.Metadata) else None
    return any((extra or {}).get(mark) for mark in marks)


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replace each of the given secrets in a text by ``HIDDEN``."""
    for secret in filter(None, secrets):
        text = text.replace(secret, HIDDEN)
    return text
