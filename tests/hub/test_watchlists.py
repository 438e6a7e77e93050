"""Watchlists on one node: the events that sessions receive, and the cleanup."""

import msgspec
import pytest

from .conftest import APP, limited, result_of
from .watchlist_nodes import WATCHING, sign_in, watchlist_events

OTHER = limited(id="2", key="other-key", watchlists=True)


class TestSigningIn:
    def test_the_first_event_contains_everybody_on_the_list(self, node):
        sign_in(node, "bob")
        sign_in(node, "cat")
        ann = sign_in(node, "ann", ["dan", "cat", "eve", "bob"])

        assert watchlist_events(ann) == [(["cat", "bob"], ["dan", "eve"])]

    def test_the_message_follows_the_confirmation_and_has_no_channel(self, node):
        ann = sign_in(node, "ann", ["bob"])
        node.turn()
        payloads = [msgspec.json.decode(payload) for payload in ann.connection.payloads()]

        assert [message["event"] for message in payloads] == [
            "pusher:signin_success",
            "pusher_internal:watchlist_events",
        ]
        assert payloads[1].keys() == {"event", "data"}

    @pytest.mark.parametrize("watchlist", [None, []])
    def test_an_empty_watchlist_sends_nothing(self, node, watchlist):
        ann = sign_in(node, "ann", watchlist)
        sign_in(node, "bob")

        assert watchlist_events(ann) == []

    def test_a_user_on_their_own_watchlist_is_online(self, node):
        ann = sign_in(node, "ann", ["ann", "bob"])

        assert watchlist_events(ann) == [(["ann"], ["bob"])]

    def test_a_new_session_does_not_receive_an_outdated_state(self, node):
        bob = sign_in(node, "bob", ["ann"])
        ann = sign_in(node, "ann", ["ann"])

        assert watchlist_events(ann) == [(["ann"], [])]
        assert watchlist_events(bob) == [([], ["ann"]), (["ann"], [])]

    def test_a_connection_without_sign_in_does_not_make_a_user_online(self, node):
        node.connect(WATCHING).subscribe("presence-x", "bob")
        ann = sign_in(node, "ann", ["bob"])

        assert watchlist_events(ann) == [([], ["bob"])]

    def test_a_new_watchlist_replaces_the_old_one(self, node):
        ann = sign_in(node, "ann", ["bob", "cat"])
        watchlist_events(ann)
        ann.sign_in("ann", ["cat", "dan"])
        assert watchlist_events(ann) == [([], ["cat", "dan"])]
        for user_id in ("bob", "cat", "dan"):
            sign_in(node, user_id)

        assert watchlist_events(ann) == [(["cat", "dan"], [])]

    def test_a_sign_in_without_a_watchlist_removes_the_old_one(self, node):
        ann = sign_in(node, "ann", ["bob"])
        watchlist_events(ann)
        ann.sign_in("ann")
        sign_in(node, "bob")

        assert watchlist_events(ann) == []

    def test_a_connection_counts_once_however_often_it_signs_in(self, node):
        ann = sign_in(node, "ann", ["bob"])
        bob = sign_in(node, "bob")
        for _ in range(3):
            bob.sign_in("bob")
        bob.leave()

        assert watchlist_events(ann) == [([], ["bob"])]
        assert result_of(node.store.counts(APP.id, "#online-bob")).subscriptions == 0


class TestChanges:
    @pytest.fixture
    def ann(self, node):
        ann = sign_in(node, "ann", ["bob", "cat"])
        watchlist_events(ann)
        return ann

    def test_only_the_first_and_the_last_connection_are_reported(self, node, ann):
        first, second = sign_in(node, "bob"), sign_in(node, "bob")
        assert watchlist_events(ann) == [(["bob"], [])]
        first.leave()
        assert watchlist_events(ann) == []
        second.leave()
        assert watchlist_events(ann) == [([], ["bob"])]

    def test_changes_of_one_turn_are_one_message(self, node, ann):
        bob = sign_in(node, "bob")
        assert watchlist_events(ann) == [(["bob"], [])]
        bob.leave()
        sign_in(node, "cat")

        assert watchlist_events(ann) == [(["cat"], ["bob"])]

    def test_a_return_in_the_same_turn_is_not_reported(self, node, ann):
        sign_in(node, "bob").leave()
        assert watchlist_events(ann) == []
        bob = sign_in(node, "bob")
        watchlist_events(ann)
        bob.leave()
        sign_in(node, "bob")

        assert watchlist_events(ann) == []

    def test_exactly_the_watching_sessions_are_notified(self, node, ann):
        others = [sign_in(node, "ann", ["bob"]), sign_in(node, "dan", ["bob", "eve"])]
        unrelated = sign_in(node, "eve", ["cat"])
        for client in (*others, unrelated):
            watchlist_events(client)
        watchlist_events(ann)
        sign_in(node, "bob")

        assert [watchlist_events(client) for client in (ann, *others)] == [[(["bob"], [])]] * 3
        assert watchlist_events(unrelated) == []

    def test_a_later_session_receives_the_current_state(self, node, ann):
        sign_in(node, "bob")
        late = sign_in(node, "dan", ["bob", "cat"])

        assert watchlist_events(late) == [(["bob"], ["cat"])]
        assert watchlist_events(ann) == [(["bob"], [])]

    def test_a_terminated_user_goes_offline(self, node, ann):
        bob = sign_in(node, "bob")
        watchlist_events(ann)
        node.hub.terminate(APP, "bob")
        bob.leave()

        assert watchlist_events(ann) == [([], ["bob"])]

    def test_a_session_that_left_receives_nothing(self, node, ann):
        ann.leave()
        sign_in(node, "bob")

        assert watchlist_events(ann) == []


class TestApps:
    def test_apps_are_isolated(self, node):
        ann = sign_in(node, "ann", ["bob"])
        sign_in(node, "bob", app=OTHER)

        assert watchlist_events(ann) == [([], ["bob"])]

    def test_an_app_without_watchlists_tracks_no_users(self, node):
        ann, bob = (sign_in(node, user_id, ["bob"], app=APP) for user_id in ("ann", "bob"))

        assert [client.events() for client in (ann, bob)] == [["signin_success"]] * 2
        assert result_of(node.store.channels(APP.id, "")) == {}
        ann.leave()
        bob.leave()
        node.assert_empty()


class TestCleanup:
    def test_nothing_is_left(self, node):
        clients = [sign_in(node, user_id, ["ann", "bob"]) for user_id in ("ann", "bob", "ann")]
        clients[0].sign_in("ann", ["cat"])
        for client in clients:
            client.leave()

        node.assert_empty()
        assert result_of(node.store.channels(APP.id, "")) == {}

    def test_listeners_receive_no_notices_of_watchlists(self, node):
        node.take_notices()
        ann = sign_in(node, "ann", ["bob"])
        ann.leave()

        assert [name for name, *_ in node.take_notices()] == ["Connected", "Disconnected"]
        assert node.hub.channels == {}
