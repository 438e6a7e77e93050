"""The session: pings, sign-in, watchlists and refusals."""

import json

import pytest
from twisted.internet.defer import Deferred

from reverb.protocol.codes import ClientError, Code
from reverb.protocol.messages import User
from reverb.protocol.session import Phase

from .conftest import SOCKET_ID, subscribed

ANN = '{"user_id": "ann", "user_info": {"name":"Ann"}}'


class TestPing:
    @pytest.mark.parametrize(
        "more", ["", ',"data":null', ',"data":{}', ',"data":"{}"', ',"data":[1]']
    )
    def test_it_is_answered_at_once(self, peer, more):
        assert peer.send(b'{"event":"pusher:ping"%s}' % more.encode()) is None

        assert peer.take() == [{"event": "pusher:pong", "data": "{}"}]

    @pytest.mark.parametrize("more", ["", ',"data":null', ',"data":{}'])
    def test_a_pong_is_not_answered(self, peer, more):
        peer.send(b'{"event":"pusher:pong"%s}' % more.encode())

        assert peer.take() == []
        assert peer.hub.calls == []


class TestUnknownEvents:
    @pytest.mark.parametrize(
        "name",
        [
            "",
            "x",
            "client",
            "Client-x",
            "pusher:",
            "pusher:Ping",
            "PUSHER:PING",
            "pusher:error",
            "pusher_internal:member_added",
            "caf\u00e9",
            "a\0b",
        ],
    )
    def test_they_are_refused_by_name(self, peer, name):
        peer.event(name)

        assert peer.refused() == f"Unsupported event received on socket: {name}"

    def test_a_long_name_is_not_repeated_in_full(self, peer):
        peer.event("x" * 10_000)

        assert len(peer.refused()) < 300

    def test_broken_json(self, peer):
        peer.send(b"{")

        assert peer.refused().startswith("Received invalid JSON")


class TestSignIn:
    def test_the_answer_contains_the_user_data(self, peer):
        text = '{"id": "ann", "user_info":{"url":"a\\/b"}}'
        peer.sign_in(text)

        assert peer.session.user == User("ann", '{"url":"a\\/b"}')
        assert peer.hub.calls == [("sign_in", peer.session.user)]
        (message,) = peer.take()
        assert message["event"] == "pusher:signin_success"
        assert json.loads(message["data"]) == {"user_data": text}

    def test_a_number_as_the_id(self, peer):
        peer.sign_in('{"id":1,"user_info":{"a":1}}')

        assert peer.session.user == User("1", '{"a":1}')
        (message,) = peer.take()
        assert json.loads(message["data"]) == {"user_data": '{"id":"1","user_info":{"a":1}}'}
        peer.sign_in('{"id":"1"}')
        assert [message["event"] for message in peer.take()] == ["pusher:signin_success"]

    def test_it_authorizes(self, peer):
        assert not peer.session.authorized
        peer.sign_in('{"id":"ann"}')

        assert peer.session.authorized

    def test_the_same_user_again(self, peer):
        peer.sign_in('{"id":"ann"}')
        peer.sign_in('{"id":"ann","user_info":{"a":1}}')

        assert [message["event"] for message in peer.take()] == ["pusher:signin_success"] * 2
        assert peer.session.user == User("ann", '{"a":1}')

    def test_another_user(self, peer):
        peer.sign_in('{"id":"ann"}')
        peer.take()
        peer.sign_in('{"id":"bob"}')

        assert peer.refused() == "Connection already signed in as user ann"
        assert peer.session.user == User("ann", "{}")
        assert len(peer.hub.calls) == 1

    @pytest.mark.parametrize("auth", ["", "nonsense"])
    def test_malformed_auth(self, peer, auth):
        peer.event("pusher:signin", auth=auth, user_data='{"id":"ann"}')

        assert peer.refused() == "Invalid format: auth must have the format key:signature"

    def test_the_key_of_another_app(self, peer):
        auth = peer.auth(f'{SOCKET_ID}::user::{{"id":"ann"}}', key="other")
        peer.event("pusher:signin", auth=auth, user_data='{"id":"ann"}')

        assert "Invalid key in signin auth data: 'other'" in peer.refused()

    @pytest.mark.parametrize("text", ["{sid}:user:{data}", "1.2::user::{data}", "{sid}:{data}", ""])
    def test_a_wrong_signature(self, peer, text):
        data = '{"id":"ann"}'
        auth = peer.auth(text.replace("{sid}", SOCKET_ID).replace("{data}", data))
        peer.event("pusher:signin", auth=auth, user_data=data)

        assert f"of {SOCKET_ID}::user::{data}, but got" in peer.refused()
        assert peer.session.user is None

    @pytest.mark.parametrize(
        "data", ["", "{", "[]", "{}", '{"id":1.5}', '{"id":""}', '{"id":"a b"}']
    )
    def test_invalid_user_data(self, peer, data):
        peer.sign_in(data)

        assert peer.refused()
        assert peer.session.user is None


class TestWatchlist:
    @pytest.fixture
    def peer(self, make_peer):
        return make_peer(watchlists=True)

    @staticmethod
    def sign_in(peer, watchlist):
        """Sign in, and return the event and the data of each message that the session sends."""
        peer.sign_in(json.dumps({"id": "ann", "watchlist": watchlist}))
        return [(message["event"], message["data"]) for message in peer.take()]

    def test_the_hub_receives_the_watchlist(self, peer):
        ((event, _),) = self.sign_in(peer, ["bob", "cat", "bob"])

        assert event == "pusher:signin_success"
        assert peer.session.user == User("ann", "{}", ("bob", "cat"))
        assert peer.hub.calls == [("sign_in", peer.session.user)]

    def test_it_is_ignored_where_the_app_has_none(self, make_peer):
        peer = make_peer(watchlists=False)
        peer.sign_in('{"id":"ann","watchlist":["bob"]}')

        assert peer.hub.calls == [("sign_in", User("ann", "{}"))]

    def test_a_hundred_users(self, peer):
        ids = [f"user{number}" for number in range(100)]

        assert [event for event, _ in self.sign_in(peer, [*ids, "user0"])] == [
            "pusher:signin_success"
        ]
        assert peer.session.user.watchlist == tuple(ids)

    def test_a_longer_watchlist_is_cut_to_a_hundred_users(self, peer):
        ids = [f"user{number}" for number in range(102)]
        (success, _), (event, error) = self.sign_in(peer, ids)

        assert (success, event) == ("pusher:signin_success", "pusher:error")
        assert error == {
            "code": 4302,
            "message": "Watchlist limit exceeded: 102 users, of whom the first 100 are watched",
        }
        assert peer.hub.calls == [("sign_in", User("ann", "{}", tuple(ids[:100])))]
        assert peer.session.open

    @pytest.mark.parametrize("watchlist", ["bob", [1.5], {"bob": True}, ["not an id"]])
    def test_an_invalid_watchlist_refuses_the_sign_in(self, peer, watchlist):
        peer.sign_in(json.dumps({"id": "ann", "watchlist": watchlist}))

        assert peer.refused().startswith("Invalid watchlist: ")
        assert peer.session.user is None
        assert peer.hub.calls == []


class TestServerToUser:
    def test_the_users_own_channel(self, peer):
        peer.sign_in('{"id":"ann"}')
        peer.take()
        peer.hub.calls.clear()
        peer.event("pusher:subscribe", channel="#server-to-user-ann", auth="")

        assert subscribed(peer, "#server-to-user-ann")

    @pytest.mark.parametrize("user_id", ["bob", "an", "anna", "ANN"])
    def test_the_channel_of_another_user(self, peer, user_id):
        peer.sign_in('{"id":"ann"}')
        peer.take()
        peer.event("pusher:subscribe", channel=f"#server-to-user-{user_id}", auth="")

        assert "not signed in as this user" in peer.refused()

    def test_before_the_sign_in(self, peer):
        peer.event("pusher:subscribe", channel="#server-to-user-ann", auth="")

        assert "not signed in as this user" in peer.refused()

    def test_a_signature_does_not_help(self, peer):
        peer.subscribe("#server-to-user-ann")

        assert "not signed in as this user" in peer.refused()


class TestClosed:
    def test_a_close_reaches_the_connection_once(self, peer):
        peer.session.close(4009, "why")
        peer.session.close(4200, "again")

        assert peer.connection.closed == (4009, "why")
        assert (peer.session.phase, peer.hub.calls) == (Phase.CLOSING, [("mute",)])

    def test_a_session_ends_once(self, peer):
        peer.session.begin_close()
        peer.session.end()
        peer.session.end()
        peer.session.close(4200, "too late")

        assert peer.session.phase is Phase.ENDED
        assert peer.hub.calls == [("mute",), ("end_session",)]
        assert peer.connection.closed is None

    def test_the_channels_cannot_be_changed_from_outside(self, peer):
        with pytest.raises(TypeError):
            peer.session.channels["news"] = None

    @pytest.mark.parametrize("payload", [b'{"event":"pusher:ping"}', b"{", b"\xff"])
    def test_messages_after_the_close_are_ignored(self, peer, payload):
        peer.session.begin_close()

        assert peer.send(payload) is None
        assert peer.take() == []


class TestHub:
    def test_the_completion_of_the_hub_is_returned(self, peer):
        peer.hub.answer = Deferred()

        for step in (
            peer.subscribe("private-x"),
            peer.client_event("private-x"),
            peer.event("pusher:unsubscribe", channel="private-x"),
            peer.sign_in('{"id":"ann"}'),
        ):
            assert step is peer.hub.answer

    def test_a_refusal_of_the_hub_keeps_its_code(self, peer):
        peer.subscribe("private-x")
        peer.hub.error = ClientError("too many", Code.CLIENT_EVENT_RATE)
        peer.client_event("private-x")

        assert peer.take() == [
            {"event": "pusher:error", "data": {"code": 4301, "message": "too many"}}
        ]


REFUSED = [
    b"",
    b"[]",
    b"{}",
    b'{"event":null}',
    b'{"event":"x"}',
    b'{"event":"client-x"}',
    b'{"event":"client-x","channel":"news","data":1}',
    b'{"event":"client-x","channel":"private-z","data":1}',
    b'{"event":"pusher:subscribe"}',
    b'{"event":"pusher:subscribe","data":null}',
    b'{"event":"pusher:subscribe","data":{"channel":"private-z","auth":"x"}}',
    b'{"event":"pusher:subscribe","data":{"channel":"presence-b"}}',
    b'{"event":"pusher:subscribe","data":{"channel":"#server-to-user-bob"}}',
    b'{"event":"pusher:subscribe","data":{"channel":"fourth"}}',
    b'{"event":"pusher:unsubscribe","data":{"channel":"elsewhere"}}',
    b'{"event":"pusher:unsubscribe","data":{}}',
    b'{"event":"pusher:signin","data":{"auth":"x","user_data":"{}"}}',
    b'{"event":"pusher:signin","data":{"auth":"the-key:x","user_data":"{}"}}',
]


@pytest.mark.parametrize("payload", REFUSED)
def test_a_refusal_does_not_change_the_client(make_peer, payload):
    peer = make_peer(max_channels_per_connection=3)
    peer.sign_in('{"id":"ann"}')
    peer.event("pusher:subscribe", channel="news")
    peer.subscribe("private-a")
    peer.subscribe("presence-b", ANN)
    peer.take()
    before, calls = peer.state, list(peer.hub.calls)

    assert peer.send(payload) is None

    assert peer.refused()
    assert peer.state == before
    assert peer.hub.calls == calls
