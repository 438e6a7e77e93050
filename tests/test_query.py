"""Query strings, compared with urllib, which is complete and slow."""

from urllib.parse import parse_qsl, quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reverb.query import MAX_PARAMETERS, QueryError, decode_query, percent_decode, split_query


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=1&b=2", [("a", "1"), ("b", "2")]),
        ("a=1&a=2", [("a", "1"), ("a", "2")]),
        ("a", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("&&a=1&", [("a", "1")]),
        ("a+b=c+d", [("a+b", "c+d")]),
        ("a;b=c", [("a;b", "c")]),
        ("a%20b=%C3%A4", [("a b", "ä")]),
        ("a=%FF&b=%", [("a", "\ufffd"), ("b", "%")]),
        ("a%26b%3D=%26c%3D", [("a&b=", "&c=")]),
        ("a=\\x41&%5C=\\u0100", [("a", "\\x41"), ("\\", "\\u0100")]),
    ],
)
def test_pairs_are_decoded_in_order(text, pairs):
    assert decode_query(text) == pairs


def test_pairs_may_stay_encoded():
    assert split_query("a%20b=%C3%A4") == [("a%20b", "%C3%A4")]


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=9))
@example([("&", "="), ("\u0100", "\\")])
def test_what_urllib_encodes_is_decoded(pairs):
    pairs = [tuple(text.encode("utf-8", "replace").decode() for text in pair) for pair in pairs]
    text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    assert decode_query(text) == parse_qsl(text, keep_blank_values=True) == pairs


@given(st.text(st.sampled_from("%4aAzZ\\xu0&+=/"), max_size=60))
@example("\\%41")
@example("%%41%4")
def test_any_text_is_decoded_as_urllib_does(text):
    assert percent_decode(text) == unquote(text)


def test_the_number_of_parameters_is_limited():
    assert len(decode_query("&".join(["a"] * MAX_PARAMETERS))) == MAX_PARAMETERS
    with pytest.raises(QueryError, match="Too many query parameters: 129, but the limit is 128"):
        decode_query("&".join(["a"] * (MAX_PARAMETERS + 1)))


@pytest.mark.parametrize("malformed", ["%", "%z", "%4", "%4z"])
def test_the_number_of_malformed_escapes_is_limited(malformed):
    assert percent_decode(f"%41{malformed}" * 64) == f"A{malformed}" * 64
    with pytest.raises(QueryError, match="More than 64 percent signs"):
        percent_decode(malformed * 65)
