"""What comes back from Redis or NATS is checked."""

import sys
from contextlib import suppress

import pytest

from reverb.protocol import messages
from reverb.protocol.messages import Member
from reverb.protocol.validity import (
    check_member,
    check_payload,
    is_channel_name,
    parse_number,
)

NOT_JSON = [
    b"\xff\xfe not text",
    b"text",
    b"{",
    b'{"event":"e"',
    b'{"event":"e"}x',
    b'{"event":"e"}\0',
    b'{"event":"\xff"}',
    b'{"event":"e","data":"\xff"}',
    b'{"event":"e","data":"\xed\xa0\x80"}',
    b'{"event":"e","data":{"a":["\xc0\x80"]}}',
    b'{"event":"e","\xff":1}',
    b'{"event":"e","data":"\\ud83d"}',
    b'{"event":"e","data":"\x01"}',
    b'{"event":"e","data":01}',
    b'{"event":"e","data":' + b"[" * 100_000,
]
WRONG_SHAPES = [b"[]", b"1", b"null", b'"event"', b"{}", b'{"event":1}', b'{"data":"1"}', b""]


class TestPayload:
    @pytest.mark.parametrize("payload", [*NOT_JSON, *WRONG_SHAPES])
    def test_an_invalid_one(self, payload):
        with pytest.raises(ValueError, match=r"^the payload is invalid: "):
            check_payload(payload, "news")

    @pytest.mark.parametrize(
        "payload",
        [
            messages.event("e", "news", "\u00e9\0\U0001f600", "ann"),
            messages.event("e", "news", "{}"),
            messages.member_added("presence-x", Member("ann", '{"a":"\u00e9"}')),
            messages.member_removed("presence-x", "ann"),
            messages.subscription_count("news", 3),
        ],
    )
    def test_those_of_the_server(self, payload):
        check_payload(payload, "news")

    def test_a_deeply_nested_one(self):
        # Since Python 3.14 the size of the stack limits the nesting, not a number.
        refused = pytest.raises(ValueError, match=r"it is nested too deeply$")
        with suppress(ValueError) if sys.version_info >= (3, 14) else refused:
            check_payload(b'{"event":"e","data":' + b'{"a":' * 99_999 + b"1" + b"}" * 100_000, "x")

    def test_only_an_online_channel_has_an_empty_one(self):
        check_payload(b"", "#online-ann")
        with pytest.raises(ValueError, match="invalid"):
            check_payload(b"", "#server-to-user-ann")


class TestMember:
    @pytest.mark.parametrize("user_info", ["{}", '{"a":[1,"\u00e9"]}', None])
    def test_a_valid_one(self, user_info):
        check_member("ann", user_info)
        check_member("\u00e9 <any text>", user_info)

    @pytest.mark.parametrize(
        "user_info", ["", "x", "[]", "1", "null", '"{}"', '{},"x":{}', "{}}", '{"a":tru}']
    )
    def test_a_user_info_that_is_no_object(self, user_info):
        with pytest.raises(ValueError, match=r"^the user_info is invalid: "):
            check_member("ann", user_info)

    def test_an_empty_id(self):
        with pytest.raises(ValueError, match=r"^the user id is empty$"):
            check_member("", "{}")


@pytest.mark.parametrize("name", ["news", "x" * 500, "#server-to-user-a", "#online-a", "a=@,.;_-"])
def test_channel_names(name):
    assert is_channel_name(name)


@pytest.mark.parametrize("name", ["", "#x", "a b", "<b>", "a:b", "\u00e9", "a\n", "#online-"])
def test_other_names(name):
    assert not is_channel_name(name)


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        *((0, 0), (7, 7), (b"7", 7), (b"0", 0), (b"9" * 19, int("9" * 19)), (-1, None)),
        *((b"-1", None), (b"1.5", None), (b"1e9", None), (b"0x10", None), (b"nan", None)),
        *((b"", None), (b" 1", None), (b"1_0", None), (b"9" * 5_000, None), (b"\xb2", None)),
    ],
)
def test_numbers(raw, number):
    assert parse_number(raw) == number
