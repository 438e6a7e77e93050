"""docs/configuration.md documents every setting, with its type, default and names."""

import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from reverb.apps import EVENT_NAMES, App, Webhook
from reverb.config.environment import APP_VARIABLES, SETTINGS_VARIABLES
from reverb.config.loader import load
from reverb.config.sources import (
    APP_FIELDS,
    APP_OPTIONS,
    SETTINGS_FIELDS,
    SETTINGS_OPTIONS,
)
from reverb.settings import Settings, WebhookSettings
from reverb.validation import plain_type

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLE = re.search(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)[1]


def rows_of(heading):
    """Return the rows of the first table after a heading, by the key in their first cell."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    return {row[0].strip("`"): row for row in rows[2:]}


SERVER = rows_of("Server")
APPS = rows_of("Apps")
WEBHOOKS = rows_of("Webhooks")


class Field(NamedTuple):
    """A field, with its name in the file."""

    name: str
    type: object
    default: object


def fields_of(struct, prefix=""):
    """Return the fields of a struct, including the fields of nested structs."""
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields_of(field.type, f"{field.name}.")
        else:
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            yield Field(prefix + field.name, field.type, default)


FIELDS = [
    *[
        pytest.param(SERVER, field, SETTINGS_VARIABLES, SETTINGS_OPTIONS, id=field.name)
        for field in fields_of(Settings)
        if field.name != "apps"
    ],
    *[
        pytest.param(APPS, field, APP_VARIABLES, APP_OPTIONS, id=f"apps.{field.name}")
        for field in fields_of(App)
    ],
]
UNITS = {"_bytes": "bytes", "_timeout": "seconds", "_interval": "seconds", "_ttl": "seconds"}


def shown_default(default):
    if default is msgspec.NODEFAULT:
        return "required"
    return f"`{json.dumps(default)}`"


def type_of(kind):  # noqa: PLR0911 - one return for each type
    match kind if isinstance(kind, msgspec.inspect.Type) else plain_type(kind):
        case msgspec.inspect.IntType(ge=low, le=2_147_483_647):
            return f"integer, {low} or more"
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"integer, {low} to {high}"
        case msgspec.inspect.UnionType(types=(number, word)):
            return f"{type_of(number)}; or `{json.dumps(*word.values)}`"
        case msgspec.inspect.BoolType():
            return "boolean"
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StructType()):
            return "list of tables"
        case msgspec.inspect.VarTupleType():
            return "list of strings"
        case msgspec.inspect.DictType():
            return "table of strings"
        case msgspec.inspect.LiteralType():
            *most, last = [json.dumps(value) for value in kind.__args__]
            return "`" + "`, `".join(most) + f"` or `{last}`"
        case msgspec.inspect.StrType():
            return "string"


class TestTables:
    @pytest.mark.parametrize(("rows", "field", "variables", "options"), FIELDS)
    def test_a_field_has_its_row(self, rows, field, variables, options):
        _, kind, unit, default, variable, option, sentence = rows[field.name]

        assert kind == type_of(field.type)
        assert default == shown_default(field.default)
        assert variable == f"`{variables[field.name]}`"
        assert option.split(",")[0].strip("`-") == options.get(field.name, "").strip("-")
        assert sentence.endswith(".")
        for suffix, expected in UNITS.items():
            if field.name.endswith(suffix):
                assert unit == expected

    @pytest.mark.parametrize(("rows", "field", "variables", "options"), FIELDS)
    def test_a_limit_documents_that_zero_is_no_limit(self, rows, field, variables, options):
        row = rows[field.name]

        is_limit = row[1].startswith("integer, 0 or more")

        assert ("0 is no limit" in row[-1]) == is_limit

    @pytest.mark.parametrize("field", list(fields_of(Webhook)), ids=lambda field: field.name)
    def test_a_field_of_a_webhook_has_its_row(self, field):
        _, kind, default, sentence = WEBHOOKS[field.name]

        assert kind == type_of(field.type)
        assert default == ("all" if field.name == "events" else shown_default(field.default))
        assert sentence.endswith(".")

    def test_every_event_is_documented(self):
        for name in EVENT_NAMES:
            assert f"`{name}`" in WEBHOOKS["events"][-1]

    def test_there_are_no_other_rows(self):
        assert list(WEBHOOKS) == [field.name for field in fields_of(Webhook)]
        assert list(SERVER) == list(SETTINGS_FIELDS)
        assert list(APPS) == list(APP_FIELDS)


class TestExample:
    def test_it_loads(self, tmp_path):
        path = tmp_path / "reverb.toml"
        path.write_text(EXAMPLE)

        settings = load(options={}, environ={}, config_path=str(path)).settings

        assert [app.id for app in settings.apps] == ["shop", "intranet"]
        assert settings.apps[0].max_connections == 5_000
        assert settings.path == "/realtime"

    def test_it_has_every_key(self):
        document = tomllib.loads(EXAMPLE)
        tables = [document["app_defaults"], *document["apps"]]
        nested = {f"webhooks.{key}" for key in document["webhooks"]}
        (webhook,) = document["apps"][0]["webhooks"]

        assert set(APP_FIELDS) <= {key for table in tables for key in table}
        assert set(SETTINGS_FIELDS) - {"listen"} <= set(document) | nested
        assert {field.name for field in fields_of(Webhook)} == set(webhook)
        assert "# listen = [" in EXAMPLE

    def test_its_defaults_are_the_defaults(self):
        document = tomllib.loads(EXAMPLE)
        defaults = Settings(apps=(App(id="1", key="k", secret="s"),))

        chosen = {"host", "path", "metrics_listen", "apps", "app_defaults", "state_dir"}
        chosen |= {"trusted_proxies"}
        document["webhooks"] = WebhookSettings(**document["webhooks"])
        assert {key: getattr(defaults, key) for key in document if key not in chosen} == {
            key: value for key, value in document.items() if key not in chosen
        }
        app = defaults.apps[0]
        assert document["app_defaults"] == {
            key: getattr(app, key) for key in document["app_defaults"]
        }
