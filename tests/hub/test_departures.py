"""Many subscriptions of ended sessions are removed in portions, and their effects stay exact."""

import json
from itertools import pairwise

import pytest

from reverb.hub.counts import WINDOW as COUNTS_WINDOW
from reverb.hub.departures import PER_TURN, WINDOW
from reverb.hub.users import _CLOSED_PER_TURN
from reverb.hub.users import _PORTION as USERS_PORTION
from reverb.protocol.changes import StoreRestored
from reverb.throttled_log import MAX_FAILURES

from .conftest import APP, COUNTED, Node, limited
from .slow_store import SlowStore

MANY = 3 * PER_TURN
WATCHED = limited(watchlists=True)


class CountingStore(SlowStore):
    """A store that records the channels of the calls of ``leave``."""

    def __init__(self, seconds):
        super().__init__(seconds)
        self.left = []

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name != "leave":
            return method

        def leave(app_id, channel, socket_id):
            self.left.append(channel)
            return method(app_id, channel, socket_id)

        return leave


@pytest.fixture
def node():
    return Node(make_store=CountingStore)


@pytest.fixture
def store(node):
    return node.store


def turn(node):
    """Make the calls that are due now, but not those that they schedule."""
    clock = node.clock
    due, clock.calls = clock.calls, []
    for call in due:
        call.called = 1
        call.func(*call.args, **call.kw)


def subscribe_to_many(client, count=MANY, prefix="c"):
    channels = [f"{prefix}{number}" for number in range(count)]
    for channel in channels:
        client.subscribe(channel)
    client.take()
    return channels


class TestPortions:
    def test_few_subscriptions_are_removed_at_once(self, node, store):
        client = node.connect()
        subscribe_to_many(client, 10)
        client.leave()

        assert len(store.left) == 10
        assert not node.hub.channels

    def test_a_turn_removes_a_bounded_number(self, node, store):
        client = node.connect()
        channels = subscribe_to_many(client)
        left = [0]
        client.leave()
        while left[-1] < MANY:
            left.append(len(store.left))
            turn(node)

        assert max(after - before for before, after in pairwise(left)) <= PER_TURN
        assert store.left == channels
        node.assert_empty()

    def test_the_sessions_of_one_turn_share_its_bound(self, node, store):
        clients = [node.connect() for _ in range(10)]
        for client in clients:
            subscribe_to_many(client, PER_TURN)
        for client in clients:
            client.leave()

        assert len(store.left) <= PER_TURN
        node.assert_empty()
        assert len(store.left) == 10 * PER_TURN

    def test_a_small_session_does_not_wait_for_a_large_one(self, node, store):
        large, small = node.connect(), node.connect()
        subscribe_to_many(large)
        small.subscribe("news")
        large.leave()
        small.leave()
        turn(node)

        assert "news" in store.left
        assert len(store.left) < MANY
        node.assert_empty()

    def test_a_bounded_number_waits_for_the_store(self, node, store):
        client = node.connect()
        subscribe_to_many(client, 2 * WINDOW)
        store.holds = {"leave"}
        client.leave()
        for _ in range(10):
            turn(node)
        assert len(store.held_calls) == WINDOW

        store.fire()
        turn(node)
        assert len(store.held_calls) == WINDOW
        while store.held_calls:
            store.fire()
            turn(node)
        assert len(store.left) == 2 * WINDOW
        node.assert_empty()

    def test_a_failed_removal_releases_its_place(self, node, store, logged):
        client = node.connect()
        subscribe_to_many(client, 2 * WINDOW)
        store.fails = {"leave": OSError()}
        client.leave()
        node.turn()

        assert len(store.left) == 2 * WINDOW
        assert len(logged.flush(OSError)) == MAX_FAILURES

    def test_the_step_in_flight_comes_first(self, node, store):
        client = node.connect()
        subscribe_to_many(client)
        store.holds = {"join"}
        client.subscribe("late")
        client.leave()
        node.turn()
        assert store.left == []

        store.fire()
        node.turn()
        assert len(store.left) == MANY + 1
        node.assert_empty()


class TestEffects:
    def test_a_return_before_the_removal_causes_no_notice(self, node):
        client, other = node.connect(), node.connect()
        channels = subscribe_to_many(client)
        node.take_notices()
        client.leave()
        other.subscribe(channels[-1])
        node.turn()

        notices = node.take_notices()
        assert ("ChannelVacated", channels[0]) in notices
        assert not [notice for notice in notices if channels[-1] in notice]
        assert list(node.hub.channels) == [(APP.id, channels[-1])]
        node.publish(channels[-1])
        assert other.events()[-1] == "e"

    def test_a_member_that_returns_before_the_removal_remains(self, node):
        client, other, again = node.connect(), node.connect(), node.connect()
        other.subscribe("presence-x", "bob")
        subscribe_to_many(client)
        client.subscribe("presence-x", "ann")
        client.subscribe("presence-y", "ann")
        other.take()
        client.leave()
        again.subscribe("presence-x", "ann")
        node.turn()

        assert other.take() == []
        assert not [
            n for n in node.take_notices() if n[0] == "MemberRemoved" and n[1] == "presence-x"
        ]

    def test_a_member_leaves_once(self, node):
        client, other = node.connect(), node.connect()
        other.subscribe("presence-x", "bob")
        subscribe_to_many(client)
        client.subscribe("presence-x", "ann")
        other.take()
        client.leave()

        assert other.take() == [("member_removed", "presence-x", {"user_id": "ann"})]

    def test_counts_are_exact_in_the_end(self, node):
        client, other = node.connect(COUNTED), node.connect(COUNTED)
        subscribe_to_many(client)
        other.subscribe(f"c{MANY - 1}")
        other.take()
        client.leave()

        assert other.take() == [("subscription_count", f"c{MANY - 1}", {"subscription_count": 1})]

    def test_each_channel_is_vacated_once(self, node):
        client = node.connect()
        channels = subscribe_to_many(client)
        node.take_notices()
        client.leave()
        node.turn()

        vacated = [name for kind, name, *_ in node.take_notices() if kind == "ChannelVacated"]
        assert vacated == channels


class TestClosing:
    def test_a_closing_session_gets_the_pending_frames_of_many_channels(self, node):
        client = node.connect()
        subscribe_to_many(client, 6 * PER_TURN)
        node.publish(f"c{MANY - 1}")
        client.session.begin_close()

        payloads = list(client.connection.payloads())
        assert [json.loads(payload)["event"] for payload in payloads] == ["e"]

    def test_terminated_connections_are_closed_in_portions(self, node):
        clients = [node.connect() for _ in range(2 * _CLOSED_PER_TURN + 1)]
        for client in clients:
            client.sign_in("ann")
        node.hub.terminate(APP, "ann")

        def closed():
            return sum(not client.session.open for client in clients)

        assert closed() == _CLOSED_PER_TURN
        turn(node)
        assert closed() == 2 * _CLOSED_PER_TURN
        node.turn()
        assert closed() == len(clients)

    def test_a_node_that_stops_waits_for_the_removals(self, node, store):
        client = node.connect()
        subscribe_to_many(client)
        store.holds = {"leave"}
        client.leave()
        flushed = node.hub.flush()
        node.turn()
        assert not flushed.called

        store.holds = set()
        store.fire_all()
        node.turn()
        assert flushed.called
        assert len(store.left) == MANY


class TestAfterAnOutage:
    def test_counts_are_refreshed_in_a_window(self, node, store):
        client = node.connect(COUNTED)
        channels = subscribe_to_many(client, 3 * COUNTS_WINDOW)
        node.turn()
        client.take()
        store.holds = {"counts"}
        node.hub.store_changed(StoreRestored())
        node.turn()
        assert len(store.held_calls) == COUNTS_WINDOW

        asked = []
        while store.held_calls:
            assert len(store.held_calls) <= COUNTS_WINDOW
            asked.append(store.held_calls[0].arguments[1])
            store.fire()
            node.turn()
        assert sorted(asked) == sorted(channels)

    def test_users_are_invalidated_in_portions(self, node):
        published = []
        node.broker.start(published.append)
        for number in range(2 * USERS_PORTION + 1):
            node.connect(WATCHED).sign_in(f"u{number}")
        published.clear()
        node.hub.store_changed(StoreRestored())
        assert len(published) == USERS_PORTION
        turn(node)
        assert len(published) == 2 * USERS_PORTION
        node.turn()
        assert len(published) == 2 * USERS_PORTION + 1
