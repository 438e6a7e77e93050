"""Validates values against the types of settings, and describes the values that a type accepts.

The configuration (:mod:`reverb.config.sources`) and an embedding application
(:func:`validate_fields`) use the same types, so the same values are valid for both, with the
same error messages. A type may have the keys ``expected`` and ``is_secret`` in
``msgspec.Meta(extra=...)``:

- ``expected``: a text about the values that the type accepts, which follows the word "expected" in
  an error message. A type needs the key ``expected`` if :func:`describe_expected` cannot derive the
  text from msgspec's description.
- ``is_secret``: True if no error message may show a value of the type. The ``repr`` of a
  :class:`reverb.redaction.RedactedStruct` hides secret values.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from reverb.redaction import is_secret

_MAX_SHOWN_CHARACTERS = 60


class InvalidArgumentError(ValueError):
    """An argument of an embedding application has a wrong type or a wrong value.

    The text is one sentence that names the argument and what was expected, such as
    ``Settings.port: expected a whole number from 0 to 65535, got '8080'``.
    """


def convert(value: object, kind: Any) -> Any:
    """Convert a value to a type.

    Args:
        value: The value. A list is accepted where the type is a tuple. A dict is not accepted
            where the type is a struct.
        kind: The type of a field.

    Returns:
        The value, as an instance of the type.

    Raises:
        ValueError: The value cannot be converted to the type. The error's text describes the
            expected values and, unless the type is secret, the given value.
    """
    # Given a dict for a struct, msgspec would build the struct.
    if _has_dict(value) and not isinstance(plain_type(kind), inspect.DictType):
        raise ValueError(_describe_mismatch(value, kind))
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ValueError(_describe_mismatch(value, kind)) from None


def _has_dict(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_dict, value))
    return isinstance(value, dict)


def validate_fields(struct: msgspec.Struct) -> None:
    """Convert the value of each field of a struct to the field's type.

    The struct's ``__post_init__`` calls this function.

    Args:
        struct: The struct, which may be frozen.

    Raises:
        InvalidArgumentError: The value of a field cannot be converted to the field's type.
    """
    for field in _fields(type(struct)):
        value = getattr(struct, field.name)
        if value is field.default:
            continue
        try:
            converted = convert(value, field.type)
        except ValueError as error:
            name = f"{type(struct).__name__}.{field.name}"
            raise InvalidArgumentError(f"{name}: {error}") from None
        msgspec.structs.force_setattr(struct, field.name, converted)


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def find_duplicate(values: Iterable[str]) -> tuple[int, int] | None:
    """Find the first value that occurs a second time.

    Returns:
        The indices of the value's second and first occurrence; None if all values are distinct.
    """
    first_indices: dict[str, int] = {}
    for index, value in enumerate(values):
        first = first_indices.setdefault(value, index)
        if first != index:
            return index, first
    return None


def plain_type(kind: Any) -> inspect.Type:
    """Return msgspec's description of a type, without the ``extra`` of ``msgspec.Meta``."""
    described = inspect.type_info(kind)
    return described.type if isinstance(described, inspect.Metadata) else described


def describe_expected(kind: Any) -> str:
    """Describe the values that a type accepts; the text follows "expected" in an error message.

    Args:
        kind: The type of a field.

    Raises:
        NotImplementedError: The type needs the key ``expected``, and does not have the key.
    """
    match inspect.type_info(kind):
        case inspect.Metadata(extra={"expected": str(sentence)}):
            expected = sentence
        case inspect.IntType(ge=int(low), le=int(high)):
            expected = f"a whole number from {low} to {high}"
        case inspect.BoolType():
            expected = "true or false"
        case inspect.StrType(min_length=None, pattern=None):
            expected = "a string"
        case inspect.LiteralType(values=values):
            expected = f"one of {_join(values)}"
        case inspect.StructType(cls=struct):
            expected = f"an instance of {struct.__name__}"
        case inspect.VarTupleType(item_type=item):
            expected = f"a list of {_describe_items(item)}"
        case _:
            raise NotImplementedError(f"{kind}: give it an expected in msgspec.Meta(extra=...)")
    return expected


def _describe_items(item: inspect.Type) -> str:
    match item:
        case inspect.StrType(min_length=None, pattern=None):
            return "strings"
        case inspect.LiteralType(values=values):
            return f"one or more of {_join(values)}"
        case inspect.StructType(cls=struct):
            return f"instances of {struct.__name__}"
    raise NotImplementedError(f"{item}: give the list an expected in msgspec.Meta(extra=...)")


def describe_value(value: object) -> str:
    """Describe a value for an error message, without the contents of dicts and objects.

    The description leaves out a URL that may have credentials.
    """
    match value:
        case bool():
            shown = str(value).lower()
        case dict():
            shown = "a table"
        case list():
            shown = f"[{', '.join(map(describe_value, value))}]"
        case tuple():
            shown = f"({', '.join(map(describe_value, value))})"
        case str() if "://" in value and "@" in value:
            shown = "a URL (not shown)"
        case str() | int() | float() | None:
            shown = repr(value)
        case type():
            shown = f"the class {value.__name__}"
        case _:
            # The repr of an App would show its secret.
            shown = f"an instance of {type(value).__name__}"
    return shown if len(shown) <= _MAX_SHOWN_CHARACTERS else shown[:_MAX_SHOWN_CHARACTERS] + "..."


def _describe_mismatch(value: object, kind: Any) -> str:
    got = "something else (not shown)" if is_secret(kind) and value else describe_value(value)
    return f"expected {describe_expected(kind)}, got {got}"


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(repr, values))
