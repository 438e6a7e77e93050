"""Decoding and validation of the messages of clients."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol import messages
from reverb.protocol.codes import ClientError
from reverb.protocol.json_decoding import data_text
from tests.support.nesting import limits_nesting

DEEP = 10_000
WRONG = ["1", "1.5", "true", "[]", "{}", '["x"]', '{"a":"b"}']
"""JSON of every type except strings; tests add null where it is invalid."""
DECODERS = {
    "pusher:subscribe": (messages.decode_subscribe, {"channel": "c"}),
    "pusher:unsubscribe": (messages.decode_unsubscribe, {"channel": "c"}),
    "pusher:signin": (messages.decode_sign_in, {"auth": "k:s", "user_data": "{}"}),
}
NOT_JSON = [
    b"",
    b" ",
    b"{",
    b'{"event":"x"',
    b'{"event":"x"}}',
    b'{"event":"x"}{"event":"y"}',
    b"{'event':'x'}",
    b'{event:"x"}',
    b'{"event":"x",}',
    b'{"event":"x","data":nul}',
    b'{"event":"x","data":01}',
    b'{"event":"x","data":+1}',
    b'{"event":"x","data":NaN}',
    b'{"event":"x","data":Infinity}',
    b'{"event":"x","data":[1,}',
    b'{"event":"x","data":"\x00"}',
    b'{"event":"x\n"}',
    b'{"event":"\\x41"}',
    b"\xef\xbb\xbf" + b'{"event":"x"}',
    b"hello",
]
LONE_SURROGATES = ["\\ud800", "\\udc00", "a\\ud800b", "\\ud800\\u0041", "\\udc00\\ud800"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def raw(text):
    return msgspec.Raw(text if isinstance(text, bytes) else text.encode())


def refusal(function, *arguments):
    """Return the message of the ClientError that a call raises."""
    with pytest.raises(ClientError) as raised:
        function(*arguments)
    assert raised.value.code is None
    assert raised.value.message
    return raised.value.message


def nested(opening, closing, inner="1", depth=DEEP):
    return opening * depth + inner + closing * depth


class TestDecodeMessage:
    def test_all_keys(self):
        message = messages.decode_message(b'{"event":"e","channel":"c","data":{"a": 1}}')

        assert (message.event, message.channel, bytes(message.data)) == ("e", "c", b'{"a": 1}')

    def test_only_the_event_is_needed(self):
        message = messages.decode_message(b'{"event":"e"}')

        assert (message.event, message.channel, bytes(message.data)) == ("e", None, b"")

    def test_null_data_is_data(self):
        assert bytes(messages.decode_message(b'{"event":"e","data":null}').data) == b"null"

    def test_a_null_channel_is_none(self):
        assert messages.decode_message(b'{"event":"e","channel":null}').channel is None

    def test_other_keys_are_ignored(self):
        payload = b'{"event":"e","user_id":1,"socket_id":["x"],"":null,"data":1}'

        assert messages.decode_message(payload).event == "e"

    def test_whitespace_around_and_within(self):
        message = messages.decode_message(b' \r\n\t{ "event" : "e" , "data" : { "a" : 1 } }\n')

        assert bytes(message.data) == b'{ "a" : 1 }'

    def test_the_last_of_duplicate_keys_counts(self):
        message = messages.decode_message(b'{"event":"a","data":1,"event":"b","data":2}')

        assert (message.event, bytes(message.data)) == ("b", b"2")

    @pytest.mark.parametrize("payload", NOT_JSON)
    def test_broken_json(self, payload):
        assert refusal(messages.decode_message, payload).startswith("Received invalid JSON")

    @pytest.mark.parametrize("payload", ["null", "1", "1.5", "true", '"x"', "[]", '["event"]'])
    def test_a_message_is_an_object(self, payload):
        assert "it must be an object, not " in refusal(messages.decode_message, payload.encode())

    @pytest.mark.parametrize("payload", ["{}", '{"data":{}}', '{"Event":"x"}'])
    def test_the_event_is_required(self, payload):
        assert "event is missing" in refusal(messages.decode_message, payload.encode())

    @pytest.mark.parametrize("wrong", [*WRONG, "null"])
    def test_the_event_is_a_string(self, wrong):
        payload = f'{{"event":{wrong}}}'.encode()

        assert "event must be" in refusal(messages.decode_message, payload)

    @pytest.mark.parametrize("wrong", WRONG)
    def test_the_channel_is_a_string(self, wrong):
        payload = f'{{"event":"e","channel":{wrong}}}'.encode()

        assert "channel must be" in refusal(messages.decode_message, payload)

    @limits_nesting
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    @pytest.mark.parametrize(
        "template", ["%s", '{"event":%s}', '{"event":"e","data":%s}', '{"x":%s,"event":"e"}']
    )
    def test_deep_nesting(self, template, opening, closing):
        payload = (template % nested(opening, closing)).encode()

        refusal(messages.decode_message, payload)

    def test_deep_nesting_that_never_ends(self):
        refusal(messages.decode_message, b'{"event":"e","data":' + b"[" * DEEP)

    @pytest.mark.parametrize("text", LONE_SURROGATES)
    @pytest.mark.parametrize("template", ['{"event":"%s"}', '{"event":"e","channel":"%s"}'])
    def test_lone_surrogates(self, template, text):
        message = refusal(messages.decode_message, (template % text).encode())

        assert message.startswith("Received invalid JSON")
        assert "surrogate pair" in message
        assert message.isascii()

    def test_nul_and_characters_of_four_bytes(self):
        payload = b'{"event":"a\\u0000b","channel":"\\ud83d\\ude00","data":"\xf0\x9f\x98\x80"}'

        message = messages.decode_message(payload)

        assert (message.event, message.channel) == ("a\0b", "\U0001f600")
        assert data_text(message.data) == "\U0001f600"

    def test_an_error_has_no_backticks(self):
        assert "`" not in refusal(messages.decode_message, b"{}")


class TestDecodeData:
    """Rules that the data of subscribe, unsubscribe and sign-in have in common."""

    @pytest.mark.parametrize("event", DECODERS)
    def test_an_object_and_an_object_in_a_string_are_the_same(self, event):
        decode, data = DECODERS[event]
        text = json.dumps(data)

        assert decode(raw(text)) == decode(raw(json.dumps(text)))

    @pytest.mark.parametrize("event", DECODERS)
    def test_missing_data(self, event):
        assert refusal(DECODERS[event][0], raw("")).endswith(f"data of {event} is missing")

    @pytest.mark.parametrize("event", DECODERS)
    @pytest.mark.parametrize("data", ["null", "1", "true", "[]", '["channel"]', "1.5"])
    @pytest.mark.parametrize("encode", [str, json.dumps], ids=["plain", "double"])
    def test_data_is_an_object(self, event, data, encode):
        assert "it must be an object, not " in refusal(DECODERS[event][0], raw(encode(data)))

    @pytest.mark.parametrize("event", DECODERS)
    @pytest.mark.parametrize("data", ['""', '"x"', '"{"', '"\\"{}\\""', '"\\u0000"', "{", "[1,}"])
    def test_data_that_is_not_json(self, event, data):
        refusal(DECODERS[event][0], raw(data))

    @pytest.mark.parametrize("event", DECODERS)
    def test_no_key_may_be_missing(self, event):
        decode, data = DECODERS[event]
        for key in data:
            less = {name: value for name, value in data.items() if name != key}

            assert f"{key} is missing" in refusal(decode, raw(json.dumps(less)))

    @pytest.mark.parametrize("event", DECODERS)
    @pytest.mark.parametrize("wrong", [*WRONG, "null"])
    @pytest.mark.parametrize("encode", [str, json.dumps], ids=["plain", "double"])
    def test_every_key_is_a_string(self, event, wrong, encode):
        decode, data = DECODERS[event]
        for key in data:
            text = json.dumps({**data, key: None}).replace("null", wrong)

            assert f"{key} must be" in refusal(decode, raw(encode(text)))

    @limits_nesting
    @pytest.mark.parametrize("event", DECODERS)
    def test_deep_nesting(self, event):
        decode, data = DECODERS[event]
        for key in data:
            text = json.dumps({**data, key: None}).replace("null", nested("[", "]"))

            refusal(decode, raw(text))
            refusal(decode, raw(json.dumps(text)))

    @pytest.mark.parametrize("event", DECODERS)
    @pytest.mark.parametrize("text", LONE_SURROGATES)
    def test_lone_surrogates(self, event, text):
        decode, data = DECODERS[event]
        for key in data:
            refusal(decode, raw(json.dumps({**data, key: "X"}).replace("X", text)))

    @pytest.mark.parametrize("event", DECODERS)
    def test_other_keys_are_ignored(self, event):
        decode, data = DECODERS[event]

        assert decode(raw(json.dumps({"x": [1, {}], **data}))) == decode(raw(json.dumps(data)))

    @given(json_values)
    def test_no_data_crashes_a_decoder(self, value):
        for decode, _ in DECODERS.values():
            with suppress(ClientError):
                decode(raw(msgspec.json.encode(value)))


class TestDecodeSubscribe:
    def test_auth_and_channel_data_may_be_missing(self):
        request = messages.decode_subscribe(raw('{"channel":"c"}'))

        assert (request.channel, request.auth, request.channel_data) == ("c", None, None)

    def test_auth_and_channel_data_may_be_null(self):
        request = messages.decode_subscribe(raw('{"channel":"c","auth":null,"channel_data":null}'))

        assert (request.auth, request.channel_data) == (None, None)

    def test_channel_data_is_kept_unchanged(self):
        text = ' {"user_id" : 10, "user_info":{"url":"a\\/b\\u00e9"}}\n'

        request = messages.decode_subscribe(raw(json.dumps({"channel": "c", "channel_data": text})))

        assert request.channel_data == text

    @pytest.mark.parametrize("key", ["auth", "channel_data"])
    @pytest.mark.parametrize("wrong", WRONG)
    def test_optional_keys_are_strings_too(self, key, wrong):
        data = f'{{"channel":"c","{key}":{wrong}}}'

        assert f"{key} must be" in refusal(messages.decode_subscribe, raw(data))


class TestDataText:
    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            "[]",
            "{ }",
            "[ 1,\t2 ]",
            '{"b":1,"a":2,"b":3}',
            "null",
            "true",
            "0",
            "-0",
            "-0.0",
            "1.0",
            "1.10",
            "1e5",
            "1E+5",
            "10000000000000000000000000000000000000000",
            "0.1000000000000000055511151231257827",
            '{"a":"\\/\\u00e9"}',
            '{"a":"\u00e9\U0001f600"}',
        ],
    )
    def test_a_value_is_its_own_text(self, text):
        assert data_text(raw(text)) == text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('""', ""),
            ('"{}"', "{}"),
            ('"a\\/b"', "a/b"),
            ('"\\u00e9"', "\u00e9"),
            ('"\\ud83d\\ude00"', "\U0001f600"),
            ('"\\u0000"', "\0"),
            ('"1.0"', "1.0"),
            ('"\\"x\\""', '"x"'),
        ],
    )
    def test_a_string_is_decoded(self, text, expected):
        assert data_text(raw(text)) == expected

    @pytest.mark.parametrize("text", ["", "{", '{"a":1,}', '"', '"\\x"', "nul", "01", '{"a":"\n"}'])
    def test_raw_data_is_validated(self, text):
        refusal(data_text, raw(text))

    @pytest.mark.parametrize("text", [*map('"{}"'.format, LONE_SURROGATES), '{"a":["\\ud800"]}'])
    def test_lone_surrogates(self, text):
        refusal(data_text, raw(text))

    @limits_nesting
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
    def test_deep_nesting(self, opening, closing):
        refusal(data_text, raw(nested(opening, closing)))

    @given(json_values)
    def test_any_json_survives(self, value):
        text = json.dumps(value)

        assert data_text(raw(text)) == (value if isinstance(value, str) else text)
