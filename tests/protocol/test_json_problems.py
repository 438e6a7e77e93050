"""What is wrong with a JSON text, in the words of JSON."""

import re
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.json_problems import NOT_JSON, json_problem
from tests.support.nesting import limits_nesting


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    kind: str | int | float | None = None
    flag: bool = False


class Outer(msgspec.Struct):
    event: str
    inner: Inner = msgspec.field(default_factory=Inner)
    items: list[Inner] | None = None
    number: int = 0
    numbers: dict[str, int] = msgspec.field(default_factory=dict)


# The words of msgspec and of Python that a client must not see.
FOREIGN = re.compile(r"`|\$|\b(str|int|bool|array|Object|Expected|codec|malformed|JSON is|got)\b")


def problem(text, kind=Outer):
    with pytest.raises(NOT_JSON) as caught:
        msgspec.json.decode(text, type=kind)
    return json_problem(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "it must be an object, not a list"),
        ("1", "it must be an object, not a whole number"),
        ("{}", "event is missing"),
        ('{"event":1}', "event must be a string, not a whole number"),
        ('{"event":1.5}', "event must be a string, not a number"),
        ('{"event":true}', "event must be a string, not true or false"),
        ('{"event":"e","items":7}', "items must be a list or null, not a whole number"),
        (
            '{"event":"e","inner":{"kind":[]}}',
            "inner.kind must be a number or a string or null, not a list",
        ),
        (
            '{"event":"e","items":[{},{"flag":null}]}',
            "items[1].flag must be true or false, not null",
        ),
        ('{"event":"e","inner":{"x":1}}', "inner.x is not a known key"),
        ('{"event":"e","inner":{"kind":1e999}}', "inner.kind is too large a number"),
        (f'{{"event":"e","number":{"9" * 5000}}}', "number is too large a number"),
        ('{"event":"e","numbers":{"a":"x"}}', "numbers[...] must be a whole number, not a string"),
        ("nope", "the syntax is wrong at byte 4"),
        ('{"event":"e",}', "the syntax is wrong at byte 13"),
        ('{"event":"\\x"}', "the syntax is wrong at byte 12"),
        ("{1:2}", "the syntax is wrong at byte 1"),
        ("{", "it ends too early, or has half of a surrogate pair"),
        ('{"event":"\\ud83d"}', "it ends too early, or has half of a surrogate pair"),
        ('{"event":"\\udc00"}', "it has half of a surrogate pair at byte 16"),
        (b'{"event":"\xff"}', "it is not UTF-8"),
    ],
)
def test_a_problem(text, expected):
    assert problem(text) == expected


def test_the_key_of_a_stranger_is_not_repeated_in_full():
    assert len(problem('{"' + "x" * 5000 + '":1}', Inner)) < 100


def test_a_value_that_is_not_allowed():
    kind = dict[str, Literal["a", "b"]]
    assert problem('{"event":"x"}', kind) == "[...] has a value that is not allowed"


@limits_nesting
def test_deep_nesting():
    assert problem("[" * 100_000, object) == "it is nested too deeply"


def test_invalid_utf8():
    with pytest.raises(UnicodeDecodeError) as caught:
        b"ab\xff".decode()
    assert json_problem(caught.value) == "it is not UTF-8"


@pytest.mark.parametrize("error", [msgspec.ValidationError, msgspec.DecodeError])
def test_an_error_of_a_later_decoder_is_not_repeated(error):
    assert "Expected" not in json_problem(error("Expected a `str` of a new kind"))


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: f'{{"event":{text}'))
def test_no_text_is_answered_in_foreign_words(text):
    problems = []
    try:
        msgspec.json.decode(text, type=Outer)
    except NOT_JSON as error:
        problems.append(json_problem(error))
    assert not FOREIGN.search("".join(problems))
