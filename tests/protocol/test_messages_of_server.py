"""The encoded messages of the server, which every SDK must understand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol import messages
from reverb.protocol.codes import Code
from reverb.protocol.messages import Member

STRANGE = ["ann", "caf\u00e9", 'q"uote', "back\\slash", "a/b", "\U0001f600", "a\0b", "\u2028", ""]
infos = st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3)


class TestExactBytes:
    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            pytest.param(
                messages.connection_established("3363.1846347", 120),
                r'{"event":"pusher:connection_established",'
                r'"data":"{\"socket_id\":\"3363.1846347\",\"activity_timeout\":120}"}',
                id="connection_established",
            ),
            pytest.param(
                messages.error("It's wrong"),
                r'{"event":"pusher:error","data":{"code":null,"message":"It' + "'" + r's wrong"}}',
                id="error",
            ),
            pytest.param(
                messages.error("Too fast", Code.CLIENT_EVENT_RATE),
                r'{"event":"pusher:error","data":{"code":4301,"message":"Too fast"}}',
                id="error-with-code",
            ),
            pytest.param(messages.PONG, r'{"event":"pusher:pong","data":"{}"}', id="pong"),
            pytest.param(
                messages.subscription_succeeded("my-channel"),
                r'{"event":"pusher_internal:subscription_succeeded","data":"{}",'
                r'"channel":"my-channel"}',
                id="subscription_succeeded",
            ),
            pytest.param(
                messages.subscription_count("news", 3),
                r'{"event":"pusher_internal:subscription_count",'
                r'"data":"{\"subscription_count\":3}","channel":"news"}',
                id="subscription_count",
            ),
            pytest.param(
                messages.cache_miss("cache-x"),
                r'{"event":"pusher:cache_miss","data":"{}","channel":"cache-x"}',
                id="cache_miss",
            ),
            pytest.param(
                messages.member_added("presence-x", Member("1", '{"a":1}')),
                r'{"event":"pusher_internal:member_added",'
                r'"data":"{\"user_id\":\"1\",\"user_info\":{\"a\":1}}","channel":"presence-x"}',
                id="member_added",
            ),
            pytest.param(
                messages.member_removed("presence-x", "1"),
                r'{"event":"pusher_internal:member_removed",'
                r'"data":"{\"user_id\":\"1\"}","channel":"presence-x"}',
                id="member_removed",
            ),
            pytest.param(
                messages.signin_success('{"id":"1"}'),
                r'{"event":"pusher:signin_success",'
                r'"data":"{\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}"}',
                id="signin_success",
            ),
            pytest.param(
                messages.watchlist_events(["a", "b"], ["c"]),
                r'{"event":"pusher_internal:watchlist_events","data":"{\"events\":['
                r"{\"name\":\"online\",\"user_ids\":[\"a\",\"b\"]},"
                r'{\"name\":\"offline\",\"user_ids\":[\"c\"]}]}"}',
                id="watchlist_events",
            ),
            pytest.param(
                messages.watchlist_events([], ["c"]),
                r'{"event":"pusher_internal:watchlist_events",'
                r'"data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"c\"]}]}"}',
                id="watchlist_events-of-one-kind",
            ),
            pytest.param(
                messages.event("App\\Events\\X", "news", '{"a":1}'),
                r'{"event":"App\\Events\\X","channel":"news","data":"{\"a\":1}"}',
                id="event",
            ),
            pytest.param(
                messages.event("client-x", "presence-a", "1", "7"),
                r'{"event":"client-x","channel":"presence-a","data":"1","user_id":"7"}',
                id="client-event",
            ),
        ],
    )
    def test_a_message(self, payload, expected):
        assert payload.decode() == expected


class TestPresenceSucceeded:
    def test_one_member(self):
        payload = messages.presence_subscription_succeeded("presence-x", {"462127": '{"name":"A"}'})

        message = json.loads(payload)
        assert list(message) == ["event", "data", "channel"]
        assert message["event"] == "pusher_internal:subscription_succeeded"
        assert message["channel"] == "presence-x"
        assert json.loads(message["data"]) == {
            "presence": {"count": 1, "ids": ["462127"], "hash": {"462127": {"name": "A"}}}
        }

    @given(st.dictionaries(st.sampled_from(STRANGE) | st.text(), infos, max_size=6))
    def test_ids_hash_and_count_agree_for_any_ids(self, members):
        texts = {user_id: json.dumps(info) for user_id, info in members.items()}

        message = json.loads(messages.presence_subscription_succeeded("presence-x", texts))

        presence = json.loads(message["data"])["presence"]
        assert presence["ids"] == list(members)
        assert presence["hash"] == members
        assert presence["count"] == len(members)

    def test_user_info_is_sent_as_it_was_written(self):
        payload = messages.presence_subscription_succeeded(
            "presence-x", {"1": '{ "b":1.0, "a":"\\/" }'}
        )

        assert '"hash":{"1":{ "b":1.0, "a":"\\/" }}' in json.loads(payload)["data"]


class TestStringsEverywhere:
    @pytest.mark.parametrize("text", STRANGE)
    def test_data_is_a_string_of_the_encoded_values(self, text):
        cases = [
            (messages.member_added("c", Member(text, "{}")), {"user_id": text, "user_info": {}}),
            (messages.member_removed("c", text), {"user_id": text}),
            (messages.signin_success(text), {"user_data": text}),
        ]
        for payload, expected in cases:
            data = json.loads(payload)["data"]
            assert isinstance(data, str)
            assert json.loads(data) == expected

    @pytest.mark.parametrize("text", STRANGE)
    def test_an_events_data_is_delivered_unchanged(self, text):
        message = json.loads(messages.event(text, "news", text, text))

        assert message == {"event": text, "channel": "news", "data": text, "user_id": text}

    def test_there_is_no_user_id_unless_there_is_a_user(self):
        assert "user_id" not in json.loads(messages.event("e", "news", "x"))

    @pytest.mark.parametrize("text", STRANGE)
    @pytest.mark.parametrize("code", [None, *Code])
    def test_the_data_of_an_error_is_an_object(self, text, code):
        message = json.loads(messages.error(text, code))

        assert message == {
            "event": "pusher:error",
            "data": {"code": None if code is None else int(code), "message": text},
        }

    def test_messages_about_the_connection_have_no_channel(self):
        for payload in (
            messages.PONG,
            messages.error("x"),
            messages.connection_established("1.2", 30),
            messages.signin_success("{}"),
            messages.watchlist_events(["a"], []),
        ):
            assert "channel" not in json.loads(payload)

    @given(st.text(), st.text(), st.text())
    def test_every_message_is_utf_8_without_line_breaks_of_its_own(self, name, data, user_id):
        payload = messages.event(name, "news", data, user_id)

        assert json.loads(payload.decode("utf-8"))["data"] == data
        assert b"\n" not in payload
