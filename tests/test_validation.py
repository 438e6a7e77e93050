"""Values are checked against the types of settings, and errors say what was expected."""

from datetime import date
from typing import Annotated

import msgspec
import pytest

from reverb.apps import App, Secret, Webhook
from reverb.settings import Settings, WebhookSettings
from reverb.validation import (
    InvalidArgumentError,
    convert,
    describe_expected,
    describe_value,
    find_duplicate,
    plain_type,
)

APP = App(id="1", key="k", secret="hush")
FIELDS = [
    pytest.param(field.type, id=f"{struct.__name__}.{field.name}")
    for struct in (App, Settings, Webhook, WebhookSettings)
    for field in msgspec.structs.fields(struct)
]


class Anything:
    """A value that no type accepts."""


@pytest.mark.parametrize("kind", FIELDS)
def test_every_type_says_what_it_accepts(kind):
    with pytest.raises(ValueError, match=r"^expected (a|an|one|true) .*, got ") as caught:
        convert(Anything(), kind)

    assert describe_expected(kind) in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        Annotated[str, msgspec.Meta(pattern="^a")],
        tuple[Annotated[str, msgspec.Meta(pattern="^a")], ...],
        dict[str, str],
        float,
    ],
)
def test_a_type_whose_constraints_do_not_explain_it_needs_a_sentence(kind):
    with pytest.raises(NotImplementedError, match="give"):
        describe_expected(kind)

    expected = msgspec.Meta(extra={"expected": "a word with a"})
    assert describe_expected(Annotated[kind, expected]) == "a word with a"


def test_the_plain_type_is_without_the_sentence():
    assert isinstance(plain_type(Secret), msgspec.inspect.StrType)
    assert isinstance(plain_type(int), msgspec.inspect.IntType)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"id": "1", "key": "k", "secret": "s"}, App),
        ([{"id": "1", "key": "k", "secret": "s"}], tuple[App, ...]),
        ({}, WebhookSettings),
    ],
)
def test_a_dict_is_no_struct(value, kind):
    with pytest.raises(ValueError, match=r"expected an? .*instance.*, got .*a table"):
        convert(value, kind)


def test_a_list_becomes_a_tuple():
    assert convert(["a", "b"], tuple[str, ...]) == ("a", "b")
    assert convert([APP], tuple[App, ...]) == (APP,)


@pytest.mark.parametrize("value", [5, b"bytes", ["hush"], Anything()])
def test_a_secret_value_is_not_shown(value):
    with pytest.raises(ValueError, match=r"got something else \(not shown\)$"):
        convert(value, Secret)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (None, "None"),
        (1.5, "1.5"),
        ("text", "'text'"),
        ("x" * 80, f"'{'x' * 59}..."),
        ("redis://:hush@host", "a URL (not shown)"),
        ({"secret": "hush"}, "a table"),
        (["a", {}], "['a', a table]"),
        (("a", APP), "('a', an instance of App)"),
        (APP, "an instance of App"),
        (App, "the class App"),
        ({APP}, "an instance of set"),
        (date(2020, 1, 1), "an instance of date"),
    ],
)
def test_a_value_is_shown_without_secrets(value, shown):
    assert describe_value(value) == shown


@pytest.mark.parametrize(
    ("values", "found"),
    [([], None), (["a", "b"], None), (["a", "b", "b", "a"], (2, 1)), (["a", "a", "a"], (1, 0))],
)
def test_the_first_repetition_is_found(values, found):
    assert find_duplicate(values) == found


def test_an_invalid_argument_is_a_value_error():
    assert issubclass(InvalidArgumentError, ValueError)
