"""Reads two sources of the configuration: a TOML file and the command line.

Each value is converted to its field's type and keeps its origin, so that a later error can
name the origin. :mod:`reverb.config.environment` reads the environment, and
:mod:`reverb.config.loader` merges the sources.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from reverb.apps import App
from reverb.redaction import HIDDEN
from reverb.settings import Settings
from reverb.validation import convert, describe_value, plain_type


class ConfigurationError(Exception):
    """The configuration is invalid. The error message is one line for the operator."""


class Value(NamedTuple):
    """The value of a field, converted to the field's type, and its origin."""

    value: Any
    origin: str
    """For example ``reverb.toml: apps[1].ping_interval``, ``REVERB_LISTEN`` or ``--port``."""

    def __repr__(self) -> str:  # The value may be a secret.
        return f"Value({HIDDEN}, {self.origin!r})"


Values = dict[str, Value]


class FileValues(NamedTuple):
    """The values in a configuration file: of the server, of ``[app_defaults]``, of each app."""

    settings: Values
    app_defaults: Values
    apps: list[Values]


class Overrides(NamedTuple):
    """The values of the environment or the command line."""

    settings: Values
    credentials: Values
    """The id, key and secret of one app; empty if they are not given."""
    app: Values
    """The other fields of an app; they apply to every app."""


def _field_types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a struct's field types; nested fields have names such as ``webhooks.debounce``."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            nested = _field_types(field.type)
            fields |= {f"{field.name}.{name}": kind for name, kind in nested.items()}
        else:
            fields[field.name] = field.type
    return fields


CREDENTIALS = ("id", "key", "secret")
SETTINGS_FIELDS = {name: kind for name, kind in _field_types(Settings).items() if name != "apps"}
"""The type of each field by its name; the fields of a table are named ``table.name``."""
APP_FIELDS = _field_types(App)

_OPTIONS = ("host", "port", "listen", "path", "redis", "broker", "workers")
SETTINGS_OPTIONS = {
    name: f"--{name.replace('_', '-')}" for name in (*_OPTIONS, "metrics_listen", "state_dir")
}
APP_OPTIONS = {name: f"--app-{name}" for name in CREDENTIALS}

_MAX_FILE_BYTES = 16 * 1_048_576
"""The largest configuration file in bytes. The limit also stops the read of an endless device."""
BOOLEANS = dict.fromkeys(("true", "(true)", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "(false)", "0", "no", "off"), False
)
"""The words for a boolean in the environment and on the command line."""


def read_file(path: str) -> FileValues:
    """Read a TOML configuration file.

    Args:
        path: Path of the file.

    Returns:
        The file's values. The values of an app may lack required fields.

    Raises:
        ConfigurationError: The file cannot be read, or a key or value in it is invalid.
    """
    document = _parse_file(path)
    defaults = document.pop("app_defaults", {})
    apps = document.pop("apps", [])
    if not isinstance(apps, list):
        raise ConfigurationError(
            f"{path}: apps: expected [[apps]] tables, got {describe_value(apps)}"
        )
    redis = document.pop("redis") if isinstance(document.get("redis"), dict) else {}
    settings = _read_table(document, SETTINGS_FIELDS, f"{path}: ")
    return FileValues(
        settings=settings | _read_redis(redis, settings, f"{path}: redis."),
        app_defaults=_read_defaults(defaults, f"{path}: app_defaults"),
        apps=[_read_app(app, f"{path}: apps[{index}]") for index, app in enumerate(apps)],
    )


def read_options(options: Mapping[str, object]) -> Overrides:
    """Read the command line's options.

    Args:
        options: The options by name without leading dashes, such as ``app-id``. A value
            is a string, or a list of strings for an option that may be repeated. None and an
            empty list mean that the option is not given. Unknown options are ignored.

    Returns:
        The values of the options that are given.

    Raises:
        ConfigurationError: An option's value is invalid.
    """
    settings = _read_known_options(options, SETTINGS_OPTIONS, SETTINGS_FIELDS)
    app = _read_known_options(options, APP_OPTIONS, APP_FIELDS)
    return Overrides(settings=settings, credentials=pop_credentials(app, APP_OPTIONS), app={})


def _parse_file(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{path}: is larger than {_MAX_FILE_BYTES} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is not TOML: too deeply nested") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None


def _read_table(table: Mapping[str, Any], fields: Mapping[str, Any], prefix: str) -> Values:
    values: Values = {}
    for key, raw in table.items():
        origin = prefix + (key if re.fullmatch(r"[\w-]+", key, re.ASCII) else repr(key))
        nested = {
            name.removeprefix(f"{key}."): name for name in fields if name.startswith(f"{key}.")
        }
        if nested and isinstance(raw, list) and key in APP_FIELDS:
            raise ConfigurationError(
                f"{origin}: expected a table, got {describe_value(raw)}; the {key} of an app "
                f"belong in [[apps.{key}]] tables"
            )
        if nested:
            kinds = {short: fields[name] for short, name in nested.items()}
            inner = _read_table(_require_table(raw, origin), kinds, f"{origin}.")
            values |= {nested[short]: value for short, value in inner.items()}
            continue
        if key not in fields:
            raise ConfigurationError(f"{origin}: unknown key{_unknown_key_hint(key, fields)}")
        values[key] = _convert(raw, fields[key], origin)
    return values


def _read_redis(table: Mapping[str, Any], others: Values, prefix: str) -> Values:
    """Read the table ``[redis]``, an alternative to the keys ``redis`` and ``redis_lease``."""
    names = {"url": "redis", "lease": "redis_lease"}
    kinds = {short: SETTINGS_FIELDS[name] for short, name in names.items()}
    found = _read_table(table, kinds, prefix)
    for short, value in found.items():
        if names[short] in others:
            raise ConfigurationError(f"{value.origin}: is already given as {names[short]}")
    return {names[short]: value for short, value in found.items()}


def _require_table(raw: object, origin: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{origin}: expected a table, got {describe_value(raw)}")
    return raw


def _read_app(table: object, origin: str) -> Values:
    return _read_table(_require_table(table, origin), APP_FIELDS, f"{origin}.")


def _read_defaults(table: object, origin: str) -> Values:
    values = _read_app(table, origin)
    for name in CREDENTIALS:
        if name in values:
            raise ConfigurationError(f"{origin}.{name}: set it in each [[apps]] table instead")
    return values


def _read_known_options(
    options: Mapping[str, object], labels: Mapping[str, str], fields: Mapping[str, Any]
) -> Values:
    values: Values = {}
    for name, label in labels.items():
        given = options.get(label.removeprefix("--"))
        if isinstance(given, str):
            values[name] = convert_text(given, fields[name], label)
        elif given:
            values[name] = _convert(given, fields[name], label)
    return values


def pop_credentials(app: Values, labels: Mapping[str, str]) -> Values:
    """Remove the id, key and secret from ``app``, and return them; require all three or none."""
    credentials = {name: app.pop(name) for name in CREDENTIALS if name in app}
    missing = [labels[name] for name in CREDENTIALS if name not in credentials]
    if credentials and missing:
        given = " and ".join(labels[name] for name in credentials)
        verb = "is" if len(credentials) == 1 else "are"
        raise ConfigurationError(f"{' and '.join(missing)}: missing, although {given} {verb} given")
    return credentials


def convert_text(text: str, kind: Any, origin: str) -> Value:
    """Convert a string from the environment or the command line to a field's type."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{origin}: is not UTF-8") from None
    raw: object = text
    match plain_type(kind):
        case inspect.VarTupleType():
            raw = [part.strip() for part in text.split(",") if part.strip()]
            if item_struct(kind) is not None:
                raw = _decode_json(text, origin)
        case inspect.BoolType():
            raw = BOOLEANS.get(text.strip().lower(), text)
        case inspect.IntType() | inspect.UnionType():  # An integer, or a word such as auto.
            raw = int(text) if re.fullmatch(r"\s*-?[0-9]{1,20}\s*", text) else text
    return _convert(raw, kind, origin)


def _decode_json(text: str, origin: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigurationError(f"{origin}: is not JSON: {error}") from None


def item_struct(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct type of a list's items, or None for any other type."""
    match plain_type(kind):
        case inspect.VarTupleType(item_type=inspect.StructType(cls=struct)):
            return struct
    return None


def _read_list(raw: object, struct: type[msgspec.Struct], origin: str) -> Value:
    """Read a list of tables, such as ``[[apps.webhooks]]``."""
    if not isinstance(raw, list):
        raise ConfigurationError(f"{origin}: expected a list of tables, got {describe_value(raw)}")
    fields, items = _field_types(struct), []
    for index, table in enumerate(raw):
        item_origin = f"{origin}[{index}]"
        values = _read_table(_require_table(table, item_origin), fields, f"{item_origin}.")
        for field in msgspec.structs.fields(struct):
            if field.required and field.name not in values:
                raise ConfigurationError(f"{item_origin}.{field.name}: missing")
        items.append(struct(**{name: value for name, (value, _) in values.items()}))
    return Value(tuple(items), origin)


def _convert(raw: object, kind: Any, origin: str) -> Value:
    struct = item_struct(kind)
    if struct is not None:
        return _read_list(raw, struct, origin)
    try:
        return Value(convert(raw, kind), origin)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {error}") from None


def _unknown_key_hint(key: str, fields: Mapping[str, Any]) -> str:
    # In TOML every key after a table header belongs to that table, which is easily overlooked.
    if fields is APP_FIELDS and key in SETTINGS_FIELDS:
        return " of an app, server settings belong before the first table"
    if fields is SETTINGS_FIELDS and key in APP_FIELDS:
        return ", it belongs in [[apps]] or [app_defaults]"
    tables = ["apps", "app_defaults"] if fields is SETTINGS_FIELDS else []
    return _did_you_mean(key, [*fields, *tables])


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else ""
