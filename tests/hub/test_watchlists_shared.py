"""Watchlists with a store that others share and that takes its time, fails, or is away."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverb.envelope import Publication
from reverb.interfaces import ChannelReaped, StoreRestored

from .conftest import APP, Node, result_of
from .slow_store import SlowStore
from .watchlist_support import WATCHING, Alone, SharedBroker, make_nodes, sign_in, told

SORRY = "The server could not do this now; try again"


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
    def test_who_comes_and_goes_elsewhere(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        bobs = [sign_in(node, "bob") for node in (other, one)]
        assert told(ann) == [([], ["bob"]), (["bob"], [])]
        bobs[0].leave()
        assert told(ann) == []
        bobs[1].leave()
        assert told(ann) == [([], ["bob"])]
        assert told(sign_in(other, "cat", ["ann", "bob"])) == [(["ann"], ["bob"])]

    def test_interest_follows_the_watchers(self, nodes):
        one, _ = nodes
        first, second = sign_in(one, "ann", ["bob", "cat"]), sign_in(one, "dan", ["cat"])
        assert one.broker.wanted == {(APP.id, "#online-bob"), (APP.id, "#online-cat")}
        first.leave()
        assert one.broker.wanted == {(APP.id, "#online-cat")}
        second.leave()
        assert one.broker.wanted == set()
        one.assert_empty()

    def test_a_hint_that_got_lost_is_made_good_for(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob", "cat"])
        told(ann)
        other.broker.loses = True
        sign_in(other, "bob")
        one.clock.advance(29)
        assert told(ann) == []
        one.clock.advance(1)
        assert told(ann) == [(["bob"], [])]
        one.clock.advance(30)
        assert told(ann) == []

    def test_a_hint_for_nothing_is_harmless(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        told(ann)
        for _ in range(3):
            other.hub._users.publish_invalidation(APP.id, "bob")
            other.hub._users.publish_invalidation(APP.id, "nobody")

        assert told(ann) == []

    def test_what_a_dead_node_has_left_reaches_the_watchers_on_all_nodes(self, nodes):
        listeners = [sign_in(node, "ann", ["bob", "cat"]) for node in nodes]
        sockets = [("bob", "9.1"), ("cat", "9.2")]
        for user_id, socket_id in sockets:  # Of a node that is no more.
            result_of(nodes[0].store.join(APP.id, f"#online-{user_id}", socket_id, None, 0))
            nodes[0].hub._users.publish_invalidation(APP.id, user_id)
        assert [told(ann)[-1] for ann in listeners] == [(["bob", "cat"], [])] * 2
        result_of(nodes[0].store.leave(APP.id, "#online-bob", "9.1"))
        nodes[0].take_notices()
        nodes[0].hub.store_changed(ChannelReaped(APP.id, "#online-bob", (), vacated=True))
        nodes[0].hub.store_changed(ChannelReaped(APP.id, "#online-cat", (), vacated=False))

        assert [told(ann) for ann in listeners] == [[([], ["bob"])]] * 2
        assert nodes[0].take_notices() == []


class TestRejoining:
    def test_what_this_node_has_missed_is_looked_at(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob"])
        told(ann)
        other.broker.loses = True
        sign_in(other, "bob")
        one.hub.store_changed(StoreRestored())

        assert told(ann) == [(["bob"], [])]

    def test_what_the_others_have_missed_is_told_them(self, nodes):
        one, other = nodes
        ann = sign_in(one, "ann", ["bob", "cat"])
        bob = sign_in(other, "bob")
        told(ann)
        other.broker.loses, other.broker.connected = True, False
        bob.leave()
        sign_in(other, "cat")
        assert told(ann) == []
        other.broker.loses, other.broker.connected = False, True
        other.hub.store_changed(StoreRestored())

        assert told(ann) == [(["cat"], ["bob"])]

    def test_users_of_apps_without_watchlists_are_nobody_s_business(self, nodes):
        one, other = nodes
        sign_in(other, "bob", app=APP)
        published = []
        other.broker.publish = published.append
        other.hub.store_changed(StoreRestored())
        assert published == []
        sign_in(one, "bob")


class TestAlone:
    @pytest.fixture
    def node(self):
        node = Node(make_store=Alone, broker=SharedBroker([]))
        result_of(node.store.join(APP.id, "#online-far", "9.9", None, 0))
        return node

    @pytest.fixture
    def ann(self, node):
        ann = sign_in(node, "ann", ["far", "near"])
        assert told(ann) == [(["far"], ["near"])]
        return ann

    def enter_degraded_mode(self, node):
        """The store answers by what this node knows: those elsewhere are not in it."""
        result_of(node.store.leave(APP.id, "#online-far", "9.9"))
        node.store.alone, node.broker.connected = True, False

    def test_users_elsewhere_stay_as_they_were_last_known(self, node, ann):
        self.enter_degraded_mode(node)
        node.clock.advance(60)
        assert told(ann) == []
        assert told(sign_in(node, "dan", ["far", "unknown"])) == [(["far"], ["unknown"])]

    def test_a_hint_says_nothing_of_them(self, node, ann):
        self.enter_degraded_mode(node)
        node.hub.deliver(Publication(APP.id, "#online-far", b""))
        assert told(ann) == []

    def test_users_here_come_and_go(self, node, ann):
        self.enter_degraded_mode(node)
        near = sign_in(node, "near")
        assert told(ann) == [(["near"], [])]
        near.leave()
        assert told(ann) == [([], ["near"])]

    def test_afterwards_it_is_as_it_is(self, node, ann):
        self.enter_degraded_mode(node)
        unknown = sign_in(node, "dan", ["unknown"])
        told(unknown)
        result_of(node.store.join(APP.id, "#online-unknown", "9.8", None, 0))
        node.store.alone, node.broker.connected = False, True
        node.hub.store_changed(StoreRestored())

        assert told(ann) == [([], ["far"])]
        assert told(unknown) == [(["unknown"], [])]


class TestSlowStore:
    def test_the_next_message_waits(self, node, store):
        store.holds = {"join", "occupied"}
        ann = node.connect(WATCHING)
        done = ann.sign_in("ann", ["bob"])
        assert ann.events() == ["signin_success"]
        store.fire()
        assert not done.called
        assert told(ann) == []
        store.fire()
        assert done.called
        assert told(ann) == [([], ["bob"])]

    @pytest.mark.parametrize("applies_at_once", [False, True])
    @pytest.mark.parametrize("answered", ["oldest", "newest"])
    def test_who_comes_while_the_store_is_asked_is_not_missed(
        self, node, store, applies_at_once, answered
    ):
        store.holds, store.applies_at_once = {"occupied"}, applies_at_once
        ann = sign_in(node, "ann", ["bob"])
        sign_in(node, "bob")
        node.turn()
        assert len(store.waiting) == 2
        while store.waiting:
            store.fire(0 if answered == "oldest" else -1)

        online, offline = zip(*told(ann), strict=True)
        assert online[-1] == ["bob"]
        assert offline in [([],), (["bob"], [])]

    @pytest.mark.parametrize("applies_at_once", [False, True])
    def test_a_question_is_asked_after_the_other(self, node, store, applies_at_once):
        ann = sign_in(node, "ann", ["bob"])
        told(ann)
        store.holds, store.applies_at_once = {"occupied"}, applies_at_once
        bob = sign_in(node, "bob")
        node.turn()
        bob.leave()
        node.turn()
        assert store.asked == ["occupied"]
        store.fire()
        node.turn()
        store.fire_all()

        assert told(ann) in ([], [(["bob"], []), ([], ["bob"])])

    @pytest.mark.parametrize("applies_at_once", [False, True])
    @pytest.mark.parametrize("asked", ["join", "occupied"])
    def test_who_leaves_meanwhile_leaves_nothing(self, node, store, applies_at_once, asked):
        store.holds, store.applies_at_once = {asked, "leave"}, applies_at_once
        ann = sign_in(node, "ann", ["bob"])
        ann.events()
        ann.leave()
        store.fire_all()

        assert ann.take() == []
        assert result_of(store.channels(APP.id, "")) == {}
        node.assert_empty()

    def test_five_hundred_users_are_one_question(self, node, store):
        ids = [f"user{number}" for number in range(1_050)]
        for number in range(11):
            sign_in(node, "ann", ids[number * 100 : number * 100 + 100])
        store.holds = {"occupied"}
        node.clock.advance(30)
        sizes = []
        while store.waiting:
            sizes.append(len(store.waiting[0].arguments[1]))
            store.fire()
            node.turn()

        assert sizes == [500, 500, 50]


class TestFailures:
    @pytest.mark.parametrize("broken", ["join", "occupied"])
    def test_a_sign_in_that_failed_can_be_tried_again(self, node, store, logged, broken):
        store.fails = {broken: OSError("broken")}
        ann = sign_in(node, "ann", ["bob"])
        assert [(event, data) for event, _, data in ann.take()][1:] == [
            ("error", {"code": None, "message": SORRY})
        ]
        assert len(logged.flush(OSError)) == 1
        store.fails = {}
        ann.sign_in("ann", ["ann", "bob"])

        assert told(ann) == [(["ann"], ["bob"])]
        ann.leave()
        node.assert_empty()

    def test_a_look_that_failed_is_followed_by_another(self, node, store, logged):
        ann = sign_in(node, "ann", ["bob", "cat"])
        told(ann)
        store.fails = {"occupied": OSError("broken")}
        sign_in(node, "bob")
        assert told(ann) == []
        assert len(logged.flush(OSError)) == 1
        store.fails = {}
        sign_in(node, "cat")
        assert told(ann) == [(["cat"], [])]
        node.clock.advance(30)
        assert told(ann) == [(["bob"], [])]

    def test_the_end_of_a_sign_in_that_failed(self, node, store, logged):
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
    """Clients on two nodes, and for each what it was told of those whom it watches."""

    def __init__(self, holds, applies_at_once):
        self.nodes = make_nodes()
        self.store = self.nodes[0].store
        self.store.holds, self.store.applies_at_once = holds, applies_at_once
        self.clients = []

    def do(self, name, *arguments):
        getattr(self, name)(*arguments)

    def sign_in(self, node, user_id, watchlist):
        client = sign_in(self.nodes[node], user_id, watchlist)
        client.user_id, client.known, client.lists = user_id, {}, [watchlist]
        self.clients.append(client)

    def again(self, number, watchlist):
        if self.clients and not self.store.waiting:  # The transport waits for answers too.
            client = self.clients[number % len(self.clients)]
            self.hear(client)
            client.known.clear()
            client.sign_in(client.user_id, watchlist)
            client.lists.append(watchlist)

    def leave(self, number):
        if self.clients:
            client = self.clients.pop(number % len(self.clients))
            self.hear(client)
            client.leave()

    def fire(self, number):
        if self.store.waiting:
            self.store.fire(number % len(self.store.waiting))

    def turn(self, node):
        self.nodes[node].turn()

    def hear(self, client):
        """Take what a client was told; each message must say something new."""
        for event, _, data in client.take():
            if event != "watchlist_events":
                continue
            for group in data["events"]:
                for user_id in group["user_ids"]:
                    assert client.known.get(user_id) is not (group["name"] == "online")
                    client.known[user_id] = group["name"] == "online"

    def rest(self):
        for _ in range(10):
            self.store.fire_all()
            for node in self.nodes:
                node.turn()
        assert not self.store.waiting

    def check(self):
        self.rest()
        online = {client.user_id for client in self.clients}
        for client in self.clients:
            self.hear(client)
            assert client.known == {user: user in online for user in client.lists[-1]}


@settings(max_examples=200)
@given(held, st.booleans(), steps)
def test_at_rest_everybody_knows_what_is_true(holds, applies_at_once, sequence):
    listeners = Watchers(holds, applies_at_once)
    for one in sequence:
        listeners.do(*one)
    listeners.check()
    for client in listeners.clients:
        client.leave()
    listeners.clients.clear()
    listeners.rest()
    for node in listeners.nodes:
        node.assert_empty()
        assert node.broker.wanted == set()
    assert result_of(listeners.store.channels(APP.id, "")) == {}
