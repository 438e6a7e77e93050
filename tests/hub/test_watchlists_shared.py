"""Watchlists with a shared store that is slow, fails, or is out of reach."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverb.envelope import Publication
from reverb.protocol.changes import ChannelReaped, StoreRestored

from .conftest import APP, Node, result_of
from .slow_store import SlowStore
from .watchlist_nodes import (
    WATCHING,
    DegradableStore,
    SharedBroker,
    make_nodes,
    sign_in,
    watchlist_events,
)

SERVER_ERROR = "The server could not do this now; try again"


@pytest.fixture
def nodes():
    return make_nodes()


@pytest.fixture
def node():
    return Node(make_store=SlowStore)


@pytest.fixture
def store(node):
    return node.store


class TestTwoNodes:
    def test_changes_on_another_node_are_reported(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        bobs = [sign_in(node, "bob") for node in (other, one)]
        assert watchlist_events(ann) == [([], ["bob"]), (["bob"], [])]
        bobs[0].leave()
        assert watchlist_events(ann) == []
        bobs[1].leave()
        assert watchlist_events(ann) == [([], ["bob"])]
        assert watchlist_events(sign_in(other, "cat", ["ann", "bob"])) == [(["ann"], ["bob"])]

    def test_interest_follows_the_watchlists(self, nodes):
        one, _ = nodes
        first, second = sign_in(one, "ann", ["bob", "cat"]), sign_in(one, "dan", ["cat"])
        assert one.broker.interest == {(APP.id, "#online-bob"), (APP.id, "#online-cat")}
        first.leave()
        assert one.broker.interest == {(APP.id, "#online-cat")}
        second.leave()
        assert one.broker.interest == set()
        one.assert_empty()

    def test_a_lost_invalidation_is_found_by_the_periodic_check(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob", "cat"])
        watchlist_events(ann)
        other.broker.loses = True
        sign_in(other, "bob")
        one.clock.advance(29)
        assert watchlist_events(ann) == []
        one.clock.advance(1)
        assert watchlist_events(ann) == [(["bob"], [])]
        one.clock.advance(30)
        assert watchlist_events(ann) == []

    def test_an_invalidation_without_a_change_sends_nothing(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        watchlist_events(ann)
        for _ in range(3):
            other.hub._users.publish_invalidation(APP.id, "bob")
            other.hub._users.publish_invalidation(APP.id, "nobody")

        assert watchlist_events(ann) == []

    def test_reaped_users_go_offline_on_all_nodes(self, nodes):
        listeners = [sign_in(node, "ann", ["bob", "cat"]) for node in nodes]
        sockets = [("bob", "9.1"), ("cat", "9.2")]
        for user_id, socket_id in sockets:  # These belong to a dead node.
            result_of(nodes[0].store.join(APP.id, f"#online-{user_id}", socket_id, None, 0))
            nodes[0].hub._users.publish_invalidation(APP.id, user_id)
        assert [watchlist_events(ann)[-1] for ann in listeners] == [(["bob", "cat"], [])] * 2
        result_of(nodes[0].store.leave(APP.id, "#online-bob", "9.1"))
        nodes[0].take_notices()
        nodes[0].hub.store_changed(ChannelReaped(APP.id, "#online-bob", (), vacated=True))
        nodes[0].hub.store_changed(ChannelReaped(APP.id, "#online-cat", (), vacated=False))

        assert [watchlist_events(ann) for ann in listeners] == [[([], ["bob"])]] * 2
        assert nodes[0].take_notices() == []


class TestStoreRestored:
    def test_this_node_checks_what_it_missed(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        watchlist_events(ann)
        other.broker.loses = True
        sign_in(other, "bob")
        one.hub.store_changed(StoreRestored())

        assert watchlist_events(ann) == [(["bob"], [])]

    def test_other_nodes_are_sent_the_invalidations_that_they_missed(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob", "cat"])
        bob = sign_in(other, "bob")
        watchlist_events(ann)
        other.broker.loses, other.broker.connected = True, False
        bob.leave()
        sign_in(other, "cat")
        assert watchlist_events(ann) == []
        other.broker.loses, other.broker.connected = False, True
        other.hub.store_changed(StoreRestored())

        assert watchlist_events(ann) == [(["cat"], ["bob"])]

    def test_users_of_apps_without_watchlists_are_not_invalidated(self, nodes):
        one, other = nodes
        sign_in(other, "bob", app=APP)
        published = []
        other.broker.publish = published.append
        other.hub.store_changed(StoreRestored())
        assert published == []
        sign_in(one, "bob")


class TestDegradedMode:
    @pytest.fixture
    def node(self):
        node = Node(make_store=DegradableStore, broker=SharedBroker([]))
        result_of(node.store.join(APP.id, "#online-far", "9.9", None, 0))
        return node

    @pytest.fixture
    def ann(self, node):
        ann = sign_in(node, "ann", ["far", "near"])
        assert watchlist_events(ann) == [(["far"], ["near"])]
        return ann

    def enter_degraded_mode(self, node):
        """Make the store answer from this node's local state, without users on other nodes."""
        result_of(node.store.leave(APP.id, "#online-far", "9.9"))
        node.store.degraded, node.broker.connected = True, False

    def test_users_on_other_nodes_keep_their_last_known_state(self, node, ann):
        self.enter_degraded_mode(node)
        node.clock.advance(60)
        assert watchlist_events(ann) == []
        assert watchlist_events(sign_in(node, "dan", ["far", "unknown"])) == [
            (["far"], ["unknown"])
        ]

    def test_an_invalidation_does_not_change_them(self, node, ann):
        self.enter_degraded_mode(node)
        node.hub.deliver(Publication(APP.id, "#online-far", b""))
        assert watchlist_events(ann) == []

    def test_changes_on_this_node_are_reported(self, node, ann):
        self.enter_degraded_mode(node)
        near = sign_in(node, "near")
        assert watchlist_events(ann) == [(["near"], [])]
        near.leave()
        assert watchlist_events(ann) == [([], ["near"])]

    def test_the_state_is_corrected_after_the_outage(self, node, ann):
        self.enter_degraded_mode(node)
        unknown = sign_in(node, "dan", ["unknown"])
        watchlist_events(unknown)
        result_of(node.store.join(APP.id, "#online-unknown", "9.8", None, 0))
        node.store.degraded, node.broker.connected = False, True
        node.hub.store_changed(StoreRestored())

        assert watchlist_events(ann) == [([], ["far"])]
        assert watchlist_events(unknown) == [(["unknown"], [])]


class TestSlowStore:
    def test_the_next_message_waits(self, node, store):
        store.holds = {"join", "occupied"}
        ann = node.connect(WATCHING)
        done = ann.sign_in("ann", ["bob"])
        assert ann.events() == ["signin_success"]
        store.fire()
        assert not done.called
        assert watchlist_events(ann) == []
        store.fire()
        assert done.called
        assert watchlist_events(ann) == [([], ["bob"])]

    @pytest.mark.parametrize("applies_at_once", [False, True])
    @pytest.mark.parametrize("answered", ["oldest", "newest"])
    def test_a_sign_in_during_the_query_is_not_missed(self, node, store, applies_at_once, answered):
        store.holds, store.applies_at_once = {"occupied"}, applies_at_once
        ann = sign_in(node, "ann", ["bob"])
        sign_in(node, "bob")
        node.turn()
        assert len(store.held_calls) == 2
        while store.held_calls:
            store.fire(0 if answered == "oldest" else -1)

        online, offline = zip(*watchlist_events(ann), strict=True)
        assert online[-1] == ["bob"]
        assert offline in [([],), (["bob"], [])]

    @pytest.mark.parametrize("applies_at_once", [False, True])
    def test_queries_do_not_overlap(self, node, store, applies_at_once):
        ann = sign_in(node, "ann", ["bob"])
        watchlist_events(ann)
        store.holds, store.applies_at_once = {"occupied"}, applies_at_once
        bob = sign_in(node, "bob")
        node.turn()
        bob.leave()
        node.turn()
        assert store.pending_calls == ["occupied"]
        store.fire()
        node.turn()
        store.fire_all()

        assert watchlist_events(ann) in ([], [(["bob"], []), ([], ["bob"])])

    @pytest.mark.parametrize("applies_at_once", [False, True])
    @pytest.mark.parametrize("asked", ["join", "occupied"])
    def test_a_client_that_leaves_during_a_call_leaves_nothing(
        self, node, store, applies_at_once, asked
    ):
        store.holds, store.applies_at_once = {asked, "leave"}, applies_at_once
        ann = sign_in(node, "ann", ["bob"])
        ann.events()
        ann.leave()
        store.fire_all()

        assert ann.take() == []
        assert result_of(store.channels(APP.id, "")) == {}
        node.assert_empty()

    def test_five_hundred_users_are_one_query(self, node, store):
        ids = [f"user{number}" for number in range(1_050)]
        for number in range(11):
            sign_in(node, "ann", ids[number * 100 : number * 100 + 100])
        store.holds = {"occupied"}
        node.clock.advance(30)
        sizes = []
        while store.held_calls:
            sizes.append(len(store.held_calls[0].arguments[1]))
            store.fire()
            node.turn()

        assert sizes == [500, 500, 50]


class TestFailures:
    @pytest.mark.parametrize("broken", ["join", "occupied"])
    def test_a_sign_in_that_failed_can_be_tried_again(self, node, store, logged, broken):
        store.fails = {broken: OSError("broken")}
        ann = sign_in(node, "ann", ["bob"])
        assert [(event, data) for event, _, data in ann.take()][1:] == [
            ("error", {"code": None, "message": SERVER_ERROR})
        ]
        assert len(logged.flush(OSError)) == 1
        store.fails = {}
        ann.sign_in("ann", ["ann", "bob"])

        assert watchlist_events(ann) == [(["ann"], ["bob"])]
        ann.leave()
        node.assert_empty()

    def test_a_failed_check_is_repeated(self, node, store, logged):
        ann = sign_in(node, "ann", ["bob", "cat"])
        watchlist_events(ann)
        store.fails = {"occupied": OSError("broken")}
        sign_in(node, "bob")
        assert watchlist_events(ann) == []
        assert len(logged.flush(OSError)) == 1
        store.fails = {}
        sign_in(node, "cat")
        assert watchlist_events(ann) == [(["cat"], [])]
        node.clock.advance(30)
        assert watchlist_events(ann) == [(["bob"], [])]

    def test_a_failed_leave_leaves_nothing_on_this_node(self, node, store, logged):
        ann = sign_in(node, "ann", ["bob"])
        store.fails = {"leave": OSError("broken")}
        ann.leave()

        assert len(logged.flush(OSError)) == 1
        node.assert_empty()


USERS = ["ann", "bob", "cat"]
step = st.one_of(
    st.tuples(
        st.just("sign_in"),
        st.integers(0, 1),
        st.sampled_from(USERS),
        st.lists(st.sampled_from([*USERS, "nobody"]), max_size=3, unique=True),
    ),
    st.tuples(st.just("again"), st.integers(0), st.lists(st.sampled_from(USERS), unique=True)),
    st.tuples(st.just("leave"), st.integers(0)),
    st.tuples(st.just("leave"), st.integers(0)),
    st.tuples(st.just("fire"), st.integers(0)),
    st.tuples(st.just("fire"), st.integers(0)),
    st.tuples(st.just("turn"), st.integers(0, 1)),
)
steps = st.lists(step, max_size=10) | st.lists(step, min_size=30, max_size=60)
held = st.sets(st.sampled_from(["join", "leave", "occupied"]))


class Watchers:
    """Clients on two nodes, each with the last state that it received of its watched users."""

    def __init__(self, holds, applies_at_once):
        self.nodes = make_nodes()
        self.store = self.nodes[0].store
        self.store.holds, self.store.applies_at_once = holds, applies_at_once
        self.clients = []

    def run(self, name, *arguments):
        getattr(self, name)(*arguments)

    def sign_in(self, node, user_id, watchlist):
        client = sign_in(self.nodes[node], user_id, watchlist)
        client.user_id, client.known, client.lists = user_id, {}, [watchlist]
        self.clients.append(client)

    def again(self, number, watchlist):
        if self.clients and not self.store.held_calls:  # The transport too waits for the store.
            client = self.clients[number % len(self.clients)]
            self.receive(client)
            client.known.clear()
            client.sign_in(client.user_id, watchlist)
            client.lists.append(watchlist)

    def leave(self, number):
        if self.clients:
            client = self.clients.pop(number % len(self.clients))
            self.receive(client)
            client.leave()

    def fire(self, number):
        if self.store.held_calls:
            self.store.fire(number % len(self.store.held_calls))

    def turn(self, node):
        self.nodes[node].turn()

    def receive(self, client):
        """Apply the messages that a client received; each must report a change."""
        for event, _, data in client.take():
            if event != "watchlist_events":
                continue
            for group in data["events"]:
                for user_id in group["user_ids"]:
                    assert client.known.get(user_id) is not (group["name"] == "online")
                    client.known[user_id] = group["name"] == "online"

    def settle(self):
        for _ in range(10):
            self.store.fire_all()
            for node in self.nodes:
                node.turn()
        assert not self.store.held_calls

    def check(self):
        self.settle()
        online = {client.user_id for client in self.clients}
        for client in self.clients:
            self.receive(client)
            assert client.known == {user: user in online for user in client.lists[-1]}


@pytest.mark.slow
@settings(max_examples=200)
@given(held, st.booleans(), steps)
def test_all_sessions_converge_on_the_correct_state(holds, applies_at_once, sequence):
    listeners = Watchers(holds, applies_at_once)
    for one in sequence:
        listeners.run(*one)
    listeners.check()
    for client in listeners.clients:
        client.leave()
    listeners.clients.clear()
    listeners.settle()
    for node in listeners.nodes:
        node.assert_empty()
        assert node.broker.interest == set()
    assert result_of(listeners.store.channels(APP.id, "")) == {}
