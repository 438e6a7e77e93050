"""Subscriptions of one connection: the requirements of each kind of channel, and refusals."""

import json

import pytest

from reverb.protocol.messages import Member

from .conftest import SOCKET_ID, subscribed

PUBLIC = ["news", "cache-news"]
PRIVATE = ["private-x", "private-cache-x", "private-encrypted-x", "private-encrypted-cache-x"]
PRESENCE = ["presence-x", "presence-cache-x"]
ANN = '{"user_id": "ann", "user_info": {"name":"Ann"}}'
ANN_MEMBER = Member("ann", '{"name":"Ann"}')


class TestSubscribe:
    @pytest.mark.parametrize("channel", PUBLIC)
    @pytest.mark.parametrize("data", [{}, {"auth": ""}, {"auth": None}, {"auth": "x:y"}])
    def test_a_public_channel_needs_no_auth(self, peer, channel, data):
        peer.event("pusher:subscribe", channel=channel, **data)

        assert subscribed(peer, channel)

    def test_channel_data_is_ignored_on_a_public_channel(self, peer):
        peer.event("pusher:subscribe", channel="news", channel_data=ANN)

        assert subscribed(peer, "news")

    @pytest.mark.parametrize("channel", PRIVATE)
    def test_a_private_channel_with_a_signature(self, peer, channel):
        peer.subscribe(channel)

        assert subscribed(peer, channel)

    @pytest.mark.parametrize("channel", PRESENCE)
    def test_a_presence_channel_with_a_signature(self, peer, channel):
        peer.subscribe(channel, ANN)

        assert subscribed(peer, channel, ANN_MEMBER)

    @pytest.mark.parametrize("channel", [*PUBLIC, *PRIVATE, *PRESENCE])
    def test_a_signature_authorizes(self, peer, channel):
        peer.subscribe(channel, ANN)

        assert peer.session.authorized == (channel not in PUBLIC)

    @pytest.mark.parametrize("channel", PRIVATE)
    @pytest.mark.parametrize("text", ['{"a" : "\\/"}\n', "not json", "", '{"user_id":"ann"}'])
    def test_channel_data_is_signed_on_private_channels_too(self, peer, channel, text):
        peer.subscribe(channel, text)

        assert subscribed(peer, channel)

    def test_channel_data_that_is_not_signed(self, peer):
        peer.event(
            "pusher:subscribe",
            channel="private-x",
            auth=peer.channel_auth("private-x"),
            channel_data="{}",
        )

        assert f"of {SOCKET_ID}:private-x:{{}}, but got" in peer.refused()

    def test_data_in_a_string(self, peer):
        peer.send({"event": "pusher:subscribe", "data": json.dumps({"channel": "news"})})

        assert subscribed(peer, "news")

    @pytest.mark.parametrize("channel", [*PRIVATE, *PRESENCE])
    @pytest.mark.parametrize("data", [{}, {"auth": ""}, {"auth": None}])
    def test_missing_auth(self, peer, channel, data):
        peer.event("pusher:subscribe", channel=channel, channel_data=ANN, **data)

        assert peer.refused() == f"Auth info required to subscribe to {channel}"

    @pytest.mark.parametrize("channel", [*PRIVATE, *PRESENCE])
    def test_malformed_auth(self, peer, channel):
        peer.event("pusher:subscribe", channel=channel, auth="nonsense", channel_data=ANN)

        assert peer.refused() == (
            f"Auth value for subscription to {channel} is invalid: "
            "should be of format 'key:signature'"
        )

    @pytest.mark.parametrize("channel", [*PRIVATE, *PRESENCE])
    def test_the_key_of_another_app(self, peer, channel):
        peer.subscribe(channel, ANN, auth=peer.channel_auth(channel, ANN, key="other"))

        assert peer.refused() == "Invalid key in subscription auth data: 'other'"

    @pytest.mark.parametrize("channel", [*PRIVATE, *PRESENCE])
    def test_a_wrong_signature_is_answered_with_what_to_sign(self, peer, channel):
        peer.subscribe(channel, ANN, auth=peer.app.key + ":feed")

        assert peer.refused() == (
            "Invalid signature: Expected HMAC SHA256 hex digest of "
            f"{SOCKET_ID}:{channel}:{ANN}, but got feed"
        )

    def test_the_secret_is_never_sent(self, peer):
        peer.subscribe("private-x", auth=peer.channel_auth("private-x", secret="guess"))

        assert peer.app.secret not in peer.refused()

    @pytest.mark.parametrize("other", ["private-y", "PRIVATE-x", "presence-x"])
    def test_a_signature_is_valid_for_one_channel(self, peer, other):
        peer.subscribe("private-x", auth=peer.channel_auth(other))

        assert "Invalid signature" in peer.refused()

    def test_a_signature_is_valid_for_one_connection(self, peer):
        peer.subscribe("private-x", auth=peer.auth("123.457:private-x"))

        assert "Invalid signature" in peer.refused()

    def test_a_signature_is_in_lower_case(self, peer):
        auth = peer.channel_auth("private-x")
        peer.subscribe("private-x", auth=peer.app.key + auth[len(peer.app.key) :].upper())

        assert "Invalid signature" in peer.refused()

    @pytest.mark.parametrize(
        "channel", ["", "a b", "a:b", "caf\u00e9", "news\n", "a\0", "#x", "x" * 201, "\U0001f600"]
    )
    def test_an_illegal_name(self, peer, channel):
        peer.event("pusher:subscribe", channel=channel)

        assert "Invalid channel name" in peer.refused()

    def test_a_second_subscription_is_refused_and_the_first_is_kept(self, peer):
        peer.subscribe("private-x")
        before = peer.state
        peer.subscribe("private-x")

        assert peer.refused() == "Existing subscription to channel private-x"
        assert peer.state == before
        assert len(peer.hub.calls) == 1

    def test_as_many_channels_as_the_app_allows(self, make_peer):
        peer = make_peer(max_channels_per_connection=2)
        for channel in ["a", "b", "c"]:
            peer.event("pusher:subscribe", channel=channel)

        refusal = peer.refused()
        assert "Cannot subscribe to c" in refusal
        assert "max_channels_per_connection" in refusal
        assert list(peer.session.channels) == ["a", "b"]
        peer.event("pusher:unsubscribe", channel="a")
        peer.event("pusher:subscribe", channel="c")
        assert peer.take() == []
        assert list(peer.session.channels) == ["b", "c"]

    def test_no_limit_to_the_channels_of_a_connection(self, peer):
        for number in range(500):
            peer.event("pusher:subscribe", channel=f"c{number}")

        assert peer.take() == []
        assert len(peer.session.channels) == 500

    def test_the_length_of_names_is_limited_by_the_app(self, make_peer):
        peer = make_peer(max_channel_name=3)
        peer.event("pusher:subscribe", channel="abcd")

        assert "longer than 3" in peer.refused()


class TestPresence:
    @pytest.mark.parametrize("number", ["10", "10.0", '"10"'])
    def test_a_numeric_id_is_a_string(self, peer, number):
        peer.subscribe("presence-x", f'{{"user_id":{number}}}')

        assert subscribed(peer, "presence-x", Member("10", "{}"))

    @pytest.mark.parametrize("data", [None, ""])
    def test_channel_data_is_required_before_a_sign_in(self, peer, data):
        peer.subscribe("presence-x", data)

        assert "channel_data is required to subscribe to presence-x" in peer.refused()

    @pytest.mark.parametrize(
        "data", ["{", "[]", "{}", '{"user_id":true}', '{"user_id":"1","user_info":true}']
    )
    def test_invalid_channel_data(self, peer, data):
        peer.subscribe("presence-x", data)

        assert peer.refused()
        assert peer.state == ({}, None, False, True, None)

    @pytest.mark.parametrize("limit", [128, 300])
    def test_a_user_id_that_is_too_long(self, make_peer, limit):
        peer = make_peer(max_user_id=limit)
        peer.subscribe("presence-x", f'{{"user_id":"{"u" * (limit + 1)}"}}')
        assert f"user_id is longer than {limit} characters" in peer.refused()
        peer.sign_in(f'{{"id":"{"u" * (limit + 1)}"}}')
        assert f"longer than {limit} characters" in peer.refused()

        peer.subscribe("presence-x", f'{{"user_id":"{"u" * limit}"}}')
        assert subscribed(peer, "presence-x", Member("u" * limit, "{}"))

    def test_the_channel_of_a_user_with_a_long_id(self, make_peer):
        peer = make_peer(max_user_id=300)
        peer.sign_in(f'{{"id":"{"u" * 300}"}}')
        peer.take()
        peer.hub.calls.clear()
        peer.subscribe("#server-to-user-" + "u" * 300)
        assert subscribed(peer, "#server-to-user-" + "u" * 300)

    def test_user_info_that_is_too_large(self, make_peer):
        peer = make_peer(max_presence_member_bytes=10)
        peer.subscribe("presence-x", ANN)

        assert "too large" in peer.refused()

    def test_a_signed_in_user_needs_no_channel_data(self, peer):
        peer.sign_in('{"id":"bob","user_info":{"name": "Bob"}}')
        peer.take()
        peer.hub.calls.clear()
        peer.subscribe("presence-x")

        assert subscribed(peer, "presence-x", Member("bob", '{"name": "Bob"}'))

    def test_explicit_channel_data_wins(self, peer):
        peer.sign_in('{"id":"bob"}')
        peer.take()
        peer.hub.calls.clear()
        peer.subscribe("presence-x", ANN)

        assert subscribed(peer, "presence-x", ANN_MEMBER)


class TestUnsubscribe:
    def test_it_ends_a_subscription_without_an_answer(self, peer):
        peer.subscribe("private-x")
        peer.event("pusher:unsubscribe", channel="private-x")

        assert peer.hub.calls[1:] == [("unsubscribe", "private-x")]
        assert peer.session.channels == {}
        assert peer.take() == []

    @pytest.mark.parametrize("channel", ["news", "", "caf\u00e9", "\0"])
    def test_without_a_subscription(self, peer, channel):
        peer.event("pusher:unsubscribe", channel=channel)

        assert peer.refused() == (
            f"No current subscription to channel {channel}, or subscription in progress"
        )

    def test_a_channel_can_be_subscribed_to_again(self, peer):
        for event in ["pusher:subscribe", "pusher:unsubscribe", "pusher:subscribe"]:
            peer.event(event, channel="news")

        assert list(peer.session.channels) == ["news"]
        assert peer.take() == []


class TestSubscriptionErrors:
    @staticmethod
    def report(peer):
        """Return the report to the channel, which follows an error with the same text."""
        error, report = peer.take()
        assert error["event"] == "pusher:error"
        assert report["event"] == "pusher:subscription_error"
        data = json.loads(report["data"])
        assert data.pop("error") == error["data"]["message"]
        return report["channel"], data

    def test_a_wrong_signature(self, peer):
        peer.subscribe("private-x", auth="the-key:wrong")

        assert self.report(peer) == ("private-x", {"type": "AuthError", "status": 401})

    @pytest.mark.parametrize(
        "channel", ["not a name", "#server-to-user-bob", "presence-x", "x" * 201]
    )
    def test_another_reason(self, peer, channel):
        peer.subscribe(channel)

        assert self.report(peer) == (channel, {"type": "SubscriptionError"})

    def test_too_many_channels(self, make_peer):
        peer = make_peer(max_channels_per_connection=1)
        peer.subscribe("a")
        peer.subscribe("b")

        assert self.report(peer) == ("b", {"type": "SubscriptionError"})

    def test_a_subscription_that_exists_has_not_failed(self, peer):
        peer.subscribe("news")
        peer.subscribe("news")

        assert [message["event"] for message in peer.take()] == ["pusher:error"]

    @pytest.mark.parametrize(
        "data", [b"{}", b'{"channel":1}', b'{"channel":"private-x","auth":1}', b"[]"]
    )
    def test_data_that_cannot_be_decoded_names_no_channel(self, peer, data):
        peer.send(b'{"event":"pusher:subscribe","data":%s}' % data)

        assert [message["event"] for message in peer.take()] == ["pusher:error"]

    def test_other_errors_are_not_reported_to_a_channel(self, peer):
        peer.event("pusher:unsubscribe", channel="news")
        peer.sign_in("{}")
        peer.client_event("private-x")

        assert [message["event"] for message in peer.take()] == ["pusher:error"] * 3

    def test_an_app_can_switch_them_off(self, make_peer):
        peer = make_peer(subscription_errors=False)
        peer.subscribe("private-x", auth="the-key:wrong")

        assert [message["event"] for message in peer.take()] == ["pusher:error"]
        assert peer.session.meter.auth_failures["subscription"] == 1
