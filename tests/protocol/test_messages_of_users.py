"""Decoding of the members of presence channels and of the users who sign in."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol import messages
from reverb.protocol.codes import ClientError
from reverb.protocol.messages import Member, User
from tests.support.nesting import limits_nesting

INVALID_INFO = "is invalid - if supplied it must be a type of hash"
BROKEN = ["", "{", "x", "{'user_id':1}", '{"user_id":1,"id":"1"', '{"user_id":01}', "\\ud800"]


def refusal(function, *arguments):
    """Return the message of the ClientError that a call raises."""
    with pytest.raises(ClientError) as raised:
        function(*arguments)
    assert raised.value.code is None
    return raised.value.message


class TestDecodeMember:
    @pytest.mark.parametrize(
        ("number", "expected"),
        [
            ('"10"', "10"),
            ("10", "10"),
            ("10.0", "10"),
            ("1e1", "10"),
            ("1.0E+1", "10"),
            ("0", "0"),
            ("-0.0", "0"),
            ("-5", "-5"),
            ("10.5", "10.5"),
            ("9007199254740993", "9007199254740993"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ],
    )
    def test_a_number_is_converted_to_its_text(self, number, expected):
        member = messages.decode_member(f'{{"user_id":{number}}}', 0, 128)

        assert member == Member(expected, "{}")

    @pytest.mark.parametrize("user_id", ["true", "false", "[]", "{}", "[1]", '{"id":1}'])
    def test_any_other_id_is_refused(self, user_id):
        assert "user_id must be" in refusal(
            messages.decode_member, f'{{"user_id":{user_id}}}', 0, 128
        )

    @pytest.mark.parametrize("data", ["{}", '{"user_id":null}', '{"user_id":""}', '{"id":"1"}'])
    def test_an_id_is_required(self, data):
        assert "user_id must be a non-empty string" in refusal(messages.decode_member, data, 0, 128)

    @pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "1" + "0" * 5000 + ".0"])
    def test_a_huge_number(self, number):
        refusal(messages.decode_member, f'{{"user_id":{number}}}', 0, 128)

    @pytest.mark.parametrize(
        "user_id", ["a b", "caf\u00e9", "\U0001f600", "a\0b", 'q"uote', "back\\slash", "#1", "a:b"]
    )
    def test_a_members_id_may_contain_any_character(self, user_id):
        data = json.dumps({"user_id": user_id})

        assert messages.decode_member(data, 0, 128).user_id == user_id

    @pytest.mark.parametrize("data", ['{"user_id":"1"}', '{"user_id":"1","user_info":null}'])
    def test_no_user_info_is_an_empty_object(self, data):
        assert messages.decode_member(data, 0, 128).user_info == "{}"

    @pytest.mark.parametrize(
        "info", ["{}", '{"name": "Ann"}', '{"b":1,"a":[ 1.0 ]}', '{"u":"a\\/\\u00e9\u00e9"}']
    )
    def test_user_info_is_kept_as_it_was_written(self, info):
        data = f'{{"user_id":"1", "user_info": {info} }}'

        assert messages.decode_member(data, 0, 128).user_info == info

    @pytest.mark.parametrize("info", ["1", "1.5", "true", "false", '"x"', "[]", '[{"a":1}]', '""'])
    def test_user_info_is_an_object(self, info):
        data = f'{{"user_id":"1","user_info":{info}}}'

        assert refusal(messages.decode_member, data, 0, 128) == (
            f"user_info supplied to presence subscription {INVALID_INFO}"
        )

    @pytest.mark.parametrize("info", ["{", '{"a":01}', '{"a":}', '{"a":"\\ud800"}', '{"a":1e400}'])
    def test_user_info_is_validated(self, info):
        refusal(messages.decode_member, f'{{"user_id":"1","user_info":{info}}}', 0, 128)

    @pytest.mark.parametrize("data", [*BROKEN, "[]", "null", '"x"', "1"])
    def test_channel_data_is_a_json_object(self, data):
        refusal(messages.decode_member, data, 0, 128)

    @limits_nesting
    def test_deep_nesting(self):
        deep = '{"a":' * 10_000 + "1" + "}" * 10_000

        refusal(messages.decode_member, deep, 0, 128)
        refusal(messages.decode_member, f'{{"user_id":"1","user_info":{deep}}}', 0, 128)

    def test_the_size_of_user_info_counts_bytes(self):
        info = '{"a":"\u00e9"}'
        data = f'{{"user_id":"1","user_info":{info}}}'

        assert messages.decode_member(data, 10, 128).user_info == info
        assert "10 bytes, at most 9" in refusal(messages.decode_member, data, 9, 128)

    def test_zero_is_no_limit_to_its_size(self):
        info = json.dumps({"a": "x" * 100_000})

        assert (
            messages.decode_member(f'{{"user_id":"1","user_info":{info}}}', 0, 128).user_info
            == info
        )

    def test_the_last_of_duplicate_keys_counts(self):
        data = '{"user_id":"1","user_info":{"a":1},"user_id":"2","user_info":{"a":2}}'

        assert messages.decode_member(data, 0, 128) == Member("2", '{"a":2}')

    @given(st.text(st.characters(codec="utf-8"), max_size=200))
    def test_no_text_crashes_it(self, text):
        for decode in (messages.decode_member, messages.decode_user):
            with suppress(ClientError):
                decode(text, 100, 128)


class TestDecodeUser:
    @pytest.mark.parametrize("user_id", ["1", "ann", "a@b.example", "-_=@,.;", "x" * 128])
    def test_an_id(self, user_id):
        assert messages.decode_user(json.dumps({"id": user_id}), 0, 128) == User(user_id, "{}")

    @pytest.mark.parametrize(
        ("number", "expected"),
        [("1", "1"), ("10.0", "10"), ("-5", "-5"), ("1e1", "10"), ("9" * 30, "9" * 30)],
    )
    def test_a_whole_number_is_converted_to_its_text(self, number, expected):
        assert messages.decode_user(f'{{"id":{number}}}', 0, 128) == User(expected, "{}")

    @pytest.mark.parametrize("text", ['{"id": "1"}', '{"id":"\\u0031","user_info":{}}'])
    def test_user_data_with_a_string_is_confirmed_as_it_was_sent(self, text):
        assert messages.with_string_id(text, "1") == text

    def test_a_number_is_confirmed_as_a_string(self):
        text = '{"id": 1.0, "user_info":{"a":"\\/", "b":[ 1 ]}, "watchlist":["1"]}'

        assert messages.with_string_id(text, "1") == (
            '{"id":"1","user_info":{"a":"\\/", "b":[ 1 ]},"watchlist":["1"]}'
        )

    @pytest.mark.parametrize("user_id", ["true", "null", "[]", "{}"])
    def test_an_id_is_a_string_or_a_number(self, user_id):
        assert "id must be a number or a string, not" in refusal(
            messages.decode_user, f'{{"id":{user_id}}}', 0, 128
        )

    @pytest.mark.parametrize("number", ["1.5", "1e400", "9" * 129, "9" * 5000])
    def test_another_number_is_no_id(self, number):
        refusal(messages.decode_user, f'{{"id":{number}}}', 0, 128)

    @pytest.mark.parametrize(
        "user_id", ["", "a b", "a:b", "#1", "caf\u00e9", "\U0001f600", "x" * 129, "1\n", "a\0"]
    )
    def test_an_id_has_the_characters_of_a_channel_name(self, user_id):
        assert "Invalid user id" in refusal(
            messages.decode_user, json.dumps({"id": user_id}), 0, 128
        )

    def test_an_id_is_required(self):
        assert "id is missing" in refusal(messages.decode_user, '{"user_id":"1"}', 0, 128)

    @pytest.mark.parametrize("data", [*BROKEN, "[]", "null", '"x"', "1"])
    def test_user_data_is_a_json_object(self, data):
        refusal(messages.decode_user, data, 0, 128)

    @pytest.mark.parametrize("data", ['{"id":"1"}', '{"id":"1","user_info":null}'])
    def test_no_user_info_is_an_empty_object(self, data):
        assert messages.decode_user(data, 0, 128).user_info == "{}"

    def test_user_info_is_kept_as_it_was_written(self):
        data = '{"id":"1","user_info":{"b": 1.0,"a":"\\/"}}'

        assert messages.decode_user(data, 0, 128).user_info == '{"b": 1.0,"a":"\\/"}'

    @pytest.mark.parametrize("info", ["1", "true", '"x"', "[]"])
    def test_user_info_is_an_object(self, info):
        data = f'{{"id":"1","user_info":{info}}}'

        assert refusal(messages.decode_user, data, 0, 128) == (
            f"user_info supplied to sign-in {INVALID_INFO}"
        )

    def test_the_size_of_user_info(self):
        data = '{"id":"1","user_info":{"a":"\u00e9"}}'

        assert messages.decode_user(data, 10, 128).id == "1"
        assert "at most 9" in refusal(messages.decode_user, data, 9, 128)

    @pytest.mark.parametrize("watchlist", ['["2","3"]', "[1]", "7"])
    def test_other_keys_and_a_disabled_watchlist_are_ignored(self, watchlist):
        data = f'{{"id":"1","watchlist":{watchlist},"x":[]}}'

        assert messages.decode_user(data, 0, 128) == User("1", "{}")


class TestWatchlist:
    @staticmethod
    def decode(watchlist):
        return messages.decode_user(
            f'{{"id":"1","watchlist":{watchlist}}}', 0, 128, watchlists=True
        )

    @pytest.mark.parametrize(
        ("watchlist", "expected"),
        [
            ("[]", ()),
            ("null", ()),
            ('["2"]', ("2",)),
            ('[2, "2", 3.0]', ("2", "3")),
            ('["b","a","b","1","a"]', ("b", "a", "1")),
            (json.dumps(["x" * 128, "-_=@,.;"]), ("x" * 128, "-_=@,.;")),
        ],
    )
    def test_duplicates_are_removed(self, watchlist, expected):
        assert self.decode(watchlist) == User("1", "{}", expected)

    def test_it_may_be_missing(self):
        assert messages.decode_user('{"id":"1"}', 0, 128, watchlists=True) == User("1", "{}")

    @pytest.mark.parametrize(
        "watchlist", ["{}", '"2"', "2", "true", "[2.5]", '["2",null]', '[["2"]]', '{"0":"2"}']
    )
    def test_it_is_a_list_of_ids(self, watchlist):
        assert refusal(self.decode, watchlist).startswith("Invalid watchlist: ")

    @pytest.mark.parametrize("user_id", ["", "a b", "caf\u00e9", "#1", "x" * 129, "1\n"])
    def test_it_contains_valid_user_ids(self, user_id):
        text = refusal(self.decode, json.dumps(["2", user_id]))

        assert text.startswith("Invalid watchlist: Invalid user id ")


@pytest.mark.parametrize("limit", [1, 128, 300])
def test_a_members_id_has_a_limit(limit):
    channel_data = json.dumps({"user_id": "u" * limit})
    assert messages.decode_member(channel_data, 0, limit).user_id == "u" * limit

    channel_data = json.dumps({"user_id": "u" * (limit + 1)})
    text = refusal(messages.decode_member, channel_data, 0, limit)
    assert text == f"Invalid channel_data: user_id is longer than {limit} characters"
    assert messages.decode_member(channel_data, 0, 0).user_id == "u" * (limit + 1)
