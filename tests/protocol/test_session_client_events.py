"""Client events: permissions, limits and the relayed message."""

import pytest

from tests.support.nesting import limits_nesting

PRIVATE = ["private-x", "private-cache-x", "private-encrypted-x"]
PRESENCE = ["presence-x", "presence-cache-x"]
PUBLIC = ["news", "cache-news"]
ANN = '{"user_id":"ann"}'
NOT_ENABLED = "To send client events, you must enable this feature for the app"
NOT_SUPPORTED = "Client event rejected - only supported on private and presence channels"


def make_subscribed_peer(make_peer, channel, **limits):
    """Create a peer that is signed in and subscribed to a channel."""
    peer = make_peer(**limits)
    peer.sign_in('{"id":"ann"}')
    peer.subscribe(channel, ANN if channel.startswith("presence-") else None)
    assert list(peer.session.channels) == [channel]
    peer.take()
    peer.hub.calls.clear()
    return peer


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "channels"),
        [("members", [*PRIVATE, *PRESENCE]), ("all", [*PRIVATE, *PRESENCE, *PUBLIC])],
    )
    def test_where_they_are_allowed(self, make_peer, mode, channels):
        for channel in channels:
            peer = make_subscribed_peer(make_peer, channel, client_events=mode)
            peer.client_event(channel, "client-typing", {"a": 1})

            assert peer.hub.calls == [("client_event", channel, "client-typing", '{"a":1}')]
            assert peer.take() == []

    @pytest.mark.parametrize("channel", PUBLIC)
    def test_members_may_not_send_on_public_channels(self, make_peer, channel):
        peer = make_subscribed_peer(make_peer, channel, client_events="members")
        peer.client_event(channel)

        assert peer.refused() == NOT_SUPPORTED

    @pytest.mark.parametrize("mode", ["members", "all"])
    def test_a_users_channel_is_reserved_for_the_server(self, make_peer, mode):
        peer = make_subscribed_peer(make_peer, "#server-to-user-ann", client_events=mode)
        peer.client_event("#server-to-user-ann")

        assert peer.refused() == NOT_SUPPORTED

    @pytest.mark.parametrize("channel", [*PRIVATE, *PRESENCE, *PUBLIC, "#server-to-user-ann"])
    def test_no_client_may_send_any(self, make_peer, channel):
        peer = make_subscribed_peer(make_peer, channel, client_events="none")
        peer.client_event(channel)

        assert peer.refused() == NOT_ENABLED

    @pytest.mark.parametrize("mode", ["members", "all"])
    @pytest.mark.parametrize(
        "channel", ["private-other", "presence-other", "private-", "private-X"]
    )
    def test_the_sender_has_to_be_subscribed(self, make_peer, mode, channel):
        peer = make_subscribed_peer(make_peer, "private-x", client_events=mode)
        peer.client_event(channel)

        assert peer.refused() == (
            f"Cannot broadcast client event (connection not subscribed to channel {channel})"
        )

    def test_after_the_end_of_the_subscription(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.event("pusher:unsubscribe", channel="private-x")
        peer.hub.calls.clear()
        peer.client_event("private-x")

        assert "not subscribed" in peer.refused()
        assert peer.hub.calls == []


class TestShape:
    @pytest.mark.parametrize(
        "more",
        ["", ',"data":1', ',"channel":null,"data":1'],
        ids=["neither", "no-channel", "null-channel"],
    )
    def test_a_channel_is_required(self, make_peer, more):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.send(b'{"event":"client-x"%s}' % more.encode())

        assert peer.refused() == "Invalid client event (must contain channel)"

    def test_an_event_may_have_no_data(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.send(b'{"event":"client-x","channel":"private-x"}')

        assert peer.hub.calls == [("client_event", "private-x", "client-x", None)]
        assert peer.take() == []

    def test_an_event_without_data_follows_the_other_rules(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.send(b'{"event":"client-x","channel":"private-y"}')

        assert peer.refused().startswith("Cannot broadcast client event")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ('"text"', "text"),
            ('"{\\"a\\":1}"', '{"a":1}'),
            ('""', ""),
            ("{}", "{}"),
            ("[]", "[]"),
            ("null", "null"),
            ("1.0", "1.0"),
            ('{ "b" : 1e2, "a" : "\\/" }', '{ "b" : 1e2, "a" : "\\/" }'),
        ],
    )
    def test_data_is_relayed_as_a_string_and_not_changed(self, make_peer, data, text):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.send(f'{{"event":"client-x","channel":"private-x","data":{data}}}'.encode())

        assert peer.hub.calls == [("client_event", "private-x", "client-x", text)]

    @pytest.mark.parametrize(
        "data",
        [
            "{",
            '{"a":01}',
            '"\\ud800"',
            pytest.param("[" * 10_000 + "]" * 10_000, marks=limits_nesting),
        ],
    )
    def test_data_that_is_not_json(self, make_peer, data):
        peer = make_subscribed_peer(make_peer, "private-x", max_event_bytes=0)
        peer.send(f'{{"event":"client-x","channel":"private-x","data":{data}}}'.encode())

        assert peer.refused()
        assert peer.hub.calls == []

    def test_other_keys_are_not_relayed(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.send(
            {"event": "client-x", "channel": "private-x", "data": 1, "user_id": "boss", "x": 2}
        )

        assert peer.hub.calls == [("client_event", "private-x", "client-x", "1")]


class TestLimits:
    @pytest.mark.parametrize("name", ["client-", "client-" + "x" * 193, "client-\U0001f600 \\"])
    def test_names(self, make_peer, name):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.client_event("private-x", name)

        assert peer.hub.calls == [("client_event", "private-x", name, "1")]

    def test_a_name_too_long_by_one_character(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x")
        peer.client_event("private-x", "client-" + "x" * 194)

        assert peer.refused() == "Invalid event name: longer than 200 characters"

    def test_no_limit_to_a_name(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x", max_event_name=0)
        peer.client_event("private-x", "client-" + "x" * 5000)

        assert len(peer.hub.calls) == 1

    @pytest.mark.parametrize("character", ["x", "\u00e9", "\U0001f600"])
    def test_the_size_of_data_counts_bytes(self, make_peer, character):
        size = len(character.encode())
        peer = make_subscribed_peer(make_peer, "private-x", max_event_bytes=size * 3)
        peer.client_event("private-x", data=character * 3)
        assert len(peer.hub.calls) == 1

        peer.client_event("private-x", data=character * 3 + "x")

        assert f"exceeds the allowed maximum ({size * 3} bytes)" in peer.refused()
        assert len(peer.hub.calls) == 1

    def test_the_size_of_an_object_is_that_of_its_text(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x", max_event_bytes=7)
        peer.client_event("private-x", data={"a": 1})
        assert len(peer.hub.calls) == 1
        peer.client_event("private-x", data={"a": 12})

        assert "exceeds" in peer.refused()

    def test_no_limit_to_data(self, make_peer):
        peer = make_subscribed_peer(make_peer, "private-x", max_event_bytes=0)
        peer.client_event("private-x", data="x" * 100_000)

        assert len(peer.hub.calls) == 1
