"""Watchlists on one node: who is told what of whom, and that nothing is left of it."""

import msgspec
import pytest

from .conftest import APP, limited, result_of
from .watchlist_support import WATCHING, sign_in, told

OTHER = limited(id="2", key="other-key", watchlists=True)


class TestSigningIn:
    def test_everybody_on_the_list_is_told_of_at_once(self, node):
        sign_in(node, "bob")
        sign_in(node, "cat")
        ann = sign_in(node, "ann", ["dan", "cat", "eve", "bob"])

        assert told(ann) == [(["cat", "bob"], ["dan", "eve"])]

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
    def test_who_watches_nobody_is_told_nothing(self, node, watchlist):
        ann = sign_in(node, "ann", watchlist)
        sign_in(node, "bob")

        assert told(ann) == []

    def test_who_watches_oneself_is_online(self, node):
        ann = sign_in(node, "ann", ["ann", "bob"])

        assert told(ann) == [(["ann"], ["bob"])]

    def test_who_has_just_come_is_not_told_what_others_knew_before(self, node):
        bob = sign_in(node, "bob", ["ann"])
        ann = sign_in(node, "ann", ["ann"])

        assert told(ann) == [(["ann"], [])]
        assert told(bob) == [([], ["ann"]), (["ann"], [])]

    def test_a_connection_that_has_not_signed_in_is_nobody_s(self, node):
        node.connect(WATCHING).subscribe("presence-x", "bob")
        ann = sign_in(node, "ann", ["bob"])

        assert told(ann) == [([], ["bob"])]

    def test_the_new_list_takes_the_place_of_the_old_one(self, node):
        ann = sign_in(node, "ann", ["bob", "cat"])
        told(ann)
        ann.sign_in("ann", ["cat", "dan"])
        assert told(ann) == [([], ["cat", "dan"])]
        for user_id in ("bob", "cat", "dan"):
            sign_in(node, user_id)

        assert told(ann) == [(["cat", "dan"], [])]

    def test_to_sign_in_without_a_list_ends_the_watching(self, node):
        ann = sign_in(node, "ann", ["bob"])
        told(ann)
        ann.sign_in("ann")
        sign_in(node, "bob")

        assert told(ann) == []

    def test_a_connection_counts_once_however_often_it_signs_in(self, node):
        ann = sign_in(node, "ann", ["bob"])
        bob = sign_in(node, "bob")
        for _ in range(3):
            bob.sign_in("bob")
        bob.leave()

        assert told(ann) == [([], ["bob"])]
        assert result_of(node.store.counts(APP.id, "#online-bob")).subscriptions == 0


class TestComingAndGoing:
    @pytest.fixture
    def ann(self, node):
        ann = sign_in(node, "ann", ["bob", "cat"])
        told(ann)
        return ann

    def test_the_first_connection_and_the_last_count(self, node, ann):
        first, second = sign_in(node, "bob"), sign_in(node, "bob")
        assert told(ann) == [(["bob"], [])]
        first.leave()
        assert told(ann) == []
        second.leave()
        assert told(ann) == [([], ["bob"])]

    def test_changes_of_one_turn_are_one_message(self, node, ann):
        bob = sign_in(node, "bob")
        assert told(ann) == [(["bob"], [])]
        bob.leave()
        sign_in(node, "cat")

        assert told(ann) == [(["cat"], ["bob"])]

    def test_who_comes_back_in_the_same_turn_was_not_away(self, node, ann):
        sign_in(node, "bob").leave()
        assert told(ann) == []
        bob = sign_in(node, "bob")
        told(ann)
        bob.leave()
        sign_in(node, "bob")

        assert told(ann) == []

    def test_every_watcher_is_told_and_nobody_else(self, node, ann):
        others = [sign_in(node, "ann", ["bob"]), sign_in(node, "dan", ["bob", "eve"])]
        stranger = sign_in(node, "eve", ["cat"])
        for client in (*others, stranger):
            told(client)
        told(ann)
        sign_in(node, "bob")

        assert [told(client) for client in (ann, *others)] == [[(["bob"], [])]] * 3
        assert told(stranger) == []

    def test_who_comes_later_knows_what_is_known(self, node, ann):
        sign_in(node, "bob")
        late = sign_in(node, "dan", ["bob", "cat"])

        assert told(late) == [(["bob"], ["cat"])]
        assert told(ann) == [(["bob"], [])]

    def test_who_is_terminated_goes(self, node, ann):
        bob = sign_in(node, "bob")
        told(ann)
        node.hub.terminate(APP, "bob")
        bob.leave()

        assert told(ann) == [([], ["bob"])]

    def test_a_watcher_that_is_gone_is_told_nothing(self, node, ann):
        ann.leave()
        sign_in(node, "bob")

        assert told(ann) == []


class TestApps:
    def test_they_have_nothing_to_do_with_each_other(self, node):
        ann = sign_in(node, "ann", ["bob"])
        sign_in(node, "bob", app=OTHER)

        assert told(ann) == [([], ["bob"])]

    def test_an_app_without_watchlists_keeps_no_account(self, node):
        ann, bob = (sign_in(node, user_id, ["bob"], app=APP) for user_id in ("ann", "bob"))

        assert [client.events() for client in (ann, bob)] == [["signin_success"]] * 2
        assert result_of(node.store.channels(APP.id, "")) == {}
        ann.leave()
        bob.leave()
        node.assert_empty()


class TestTheRest:
    def test_nothing_is_left(self, node):
        clients = [sign_in(node, user_id, ["ann", "bob"]) for user_id in ("ann", "bob", "ann")]
        clients[0].sign_in("ann", ["cat"])
        for client in clients:
            client.leave()

        node.assert_empty()
        assert result_of(node.store.channels(APP.id, "")) == {}

    def test_watchers_of_the_server_are_told_nothing_of_it(self, node):
        node.take_notices()
        ann = sign_in(node, "ann", ["bob"])
        ann.leave()

        assert [name for name, *_ in node.take_notices()] == ["Connected", "Disconnected"]
        assert node.hub.channels == {}
