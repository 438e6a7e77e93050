"""Subscription counts, in apps that enable them (fact: subscription_count)."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from reverb.brokers.local import LocalBroker
from reverb.envelope import CountChanged
from reverb.hub.counts import LARGE_CHANNEL, LARGE_CHANNEL_INTERVAL
from reverb.hub.hub import Hub
from reverb.interfaces import ChannelReaped, StoreRestored
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import HeldBroker

from .conftest import APP, COUNTED, TTL, Node, result_of
from .slow_store import SlowStore

COUNTED_CHANNELS = ["news", "private-x", "private-encrypted-x", "cache-x", "my-presence-x"]


def counts(client):
    """Remove and return the counts that a client has received."""
    taken = [message for message in client.take() if message[0] == "subscription_count"]
    assert all(set(data) == {"subscription_count"} for _, _, data in taken)
    return [data["subscription_count"] for _, _, data in taken]


def notices(node):
    """Remove all notices, and return the counts in them."""
    taken = [notice[1:] for notice in node.take_notices() if notice[0] == "SubscriptionCount"]
    return [count for _, count in taken]


def crowd(node, size, channel="news"):
    """Subscribe many clients, each in a turn of its own."""
    clients = [node.connect(COUNTED) for _ in range(size)]
    for client in clients:
        client.subscribe(channel)
        node.turn()
    return clients


class TestSending:
    @pytest.mark.parametrize("channel", COUNTED_CHANNELS)
    def test_each_change_is_sent(self, node, channel):
        one, two = node.connect(COUNTED), node.connect(COUNTED)
        one.subscribe(channel)
        assert one.take()[-1] == ("subscription_count", channel, {"subscription_count": 1})
        two.subscribe(channel)
        assert (counts(one), counts(two)) == ([2], [2])
        two.unsubscribe(channel)
        assert (counts(one), counts(two)) == ([1], [])
        one.leave()

        assert [n for n in node.take_notices() if n[0] == "SubscriptionCount"] == [
            ("SubscriptionCount", channel, count) for count in (1, 2, 1)
        ]
        node.turn()
        assert node.take_notices()[-1] == ("SubscriptionCount", channel, 0)
        two.leave()
        node.assert_empty()

    def test_a_new_subscriber_receives_the_count_after_the_confirmation(self, node):
        client = node.connect(COUNTED)
        node.publish("cache-x", app=COUNTED)
        client.subscribe("cache-x")

        assert client.events() == ["subscription_succeeded", "e", "subscription_count"]

    @pytest.mark.parametrize("channel", ["presence-x", "presence-cache-x", "#server-to-user-ann"])
    def test_members_and_users_are_not_counted(self, node, channel):
        client = node.connect(COUNTED)
        client.sign_in("ann")
        client.subscribe(channel, "ann" if channel.startswith("presence-") else None)
        events = client.events()

        assert "subscription_succeeded" in events
        assert "subscription_count" not in events
        client.leave()
        node.turn()
        assert notices(node) == []

    def test_nothing_is_counted_unless_the_app_enables_it(self, node):
        client = node.connect()
        client.subscribe("news")
        client.unsubscribe("news")
        node.turn()

        assert client.events() == ["subscription_succeeded"]
        assert notices(node) == []
        assert node.hub.sizes()["counted channels"] == 0

    def test_apps_do_not_count_each_others_subscriptions(self, node):
        one, other = node.connect(COUNTED), node.connect()
        other.subscribe("news")
        one.subscribe("news")

        assert counts(one) == [1]

    def test_changes_of_one_turn_are_sent_as_one_count(self, node):
        clients = [node.connect(COUNTED) for _ in range(5)]
        for client in clients:
            client.subscribe("news")
        clients[0].unsubscribe("news")

        assert [counts(client) for client in clients] == [[], [4], [4], [4], [4]]
        assert notices(node) == [4]

    def test_a_new_subscriber_receives_a_count_that_has_not_changed(self, node):
        one, two, three = (node.connect(COUNTED) for _ in range(3))
        for client in (one, two):
            client.subscribe("news")
        node.turn()
        two.leave()
        three.subscribe("news")

        assert counts(three) == [2]


class TestLargeChannels:
    def test_one_count_is_sent_per_interval(self, node):
        clients = crowd(node, LARGE_CHANNEL)
        first = clients[0]
        assert counts(first) == list(range(1, LARGE_CHANNEL + 1))
        notices(node)
        more = crowd(node, 7)
        assert counts(first) == [LARGE_CHANNEL + 1]
        assert counts(more[6]) == []
        node.clock.advance(LARGE_CHANNEL_INTERVAL - 0.1)
        assert counts(first) == []
        node.clock.advance(0.2)

        assert (counts(first), counts(more[6])) == ([LARGE_CHANNEL + 7], [LARGE_CHANNEL + 7])
        assert notices(node) == [LARGE_CHANNEL + 1, LARGE_CHANNEL + 7]

    def test_nothing_is_sent_without_a_change(self, node):
        first = crowd(node, LARGE_CHANNEL + 1)[0]
        counts(first)
        node.clock.advance(3 * LARGE_CHANNEL_INTERVAL)
        assert counts(first) == []
        crowd(node, 1)
        assert counts(first) == [LARGE_CHANNEL + 2]

    def test_a_channel_that_shrinks_is_sent_counts_at_once_after_the_interval(self, node):
        clients = crowd(node, LARGE_CHANNEL + 3)
        first = clients[0]
        for _ in range(2):
            node.clock.advance(LARGE_CHANNEL_INTERVAL)
        counts(first)
        for client in clients[-5:]:
            client.leave()
            node.turn()
        assert counts(first) == [LARGE_CHANNEL + 2]
        node.clock.advance(LARGE_CHANNEL_INTERVAL)
        assert counts(first) == [LARGE_CHANNEL - 2]
        clients[1].leave()
        assert counts(first) == [LARGE_CHANNEL - 3]
        clients[2].leave()
        assert counts(first) == [LARGE_CHANNEL - 4]

    def test_a_new_subscriber_receives_the_same_count_after_the_interval(self, node):
        clients = crowd(node, LARGE_CHANNEL + 1)
        clients[-1].leave()
        (new,) = crowd(node, 1)
        node.clock.advance(LARGE_CHANNEL_INTERVAL)

        assert counts(new) == [LARGE_CHANNEL + 1]

    def test_channels_do_not_wait_for_each_other(self, node):
        crowd(node, LARGE_CHANNEL + 1)
        (client,) = crowd(node, 1, "other")

        assert counts(client) == [1]

    def test_delayed_counts_are_sent_when_the_node_stops(self, node):
        clients = crowd(node, LARGE_CHANNEL + 1)
        notices(node)
        for client in clients:
            client.leave()
        node.hub.flush()

        assert notices(node) == [0]
        node.assert_empty()


class TestSharedStore:
    """Invalidations from the broker, and a slow store."""

    def test_an_invalidation_is_published(self):
        broker = HeldBroker()
        node = Node(broker=broker)
        crowd(node, 1)

        assert broker.held == [CountChanged(COUNTED.id, "news")]

    def test_an_invalidation_makes_the_node_ask_the_store(self, node):
        (client,) = crowd(node, 1)
        counts(client)
        notices(node)
        # A client subscribes on another node.
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        node.hub.deliver(CountChanged(COUNTED.id, "news"))

        assert counts(client) == [2]
        assert notices(node) == []

    def test_an_invalidation_without_a_change_sends_nothing(self, node):
        (client,) = crowd(node, 1)
        counts(client)
        node.hub.deliver(CountChanged(COUNTED.id, "news"))

        assert counts(client) == []

    def test_an_invalidation_of_an_unknown_channel_is_ignored(self, node):
        node.hub.deliver(CountChanged(COUNTED.id, "news"))
        node.hub.deliver(CountChanged(APP.id, "news"))

        node.assert_empty()

    def test_counts_are_refreshed_after_a_node_was_reaped(self, node):
        (client,) = crowd(node, 1)
        counts(client)
        notices(node)
        # It had some subscriptions to "news" and all of "other"; the last app has no counts.
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        for channel, app in (("news", COUNTED), ("other", COUNTED), ("news", APP)):
            node.hub.store_changed(ChannelReaped(app.id, channel, (), vacated=False))
        node.hub.store_changed(ChannelReaped("gone", "news", (), vacated=False))

        assert counts(client) == [2]
        assert notices(node) == [2, 0]

    def test_all_counts_are_refreshed_after_an_outage(self, node):
        (client,) = crowd(node, 1)
        counts(client)
        notices(node)
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        assert counts(client) == []
        node.hub.store_changed(StoreRestored())

        assert counts(client) == [2]
        assert notices(node) == [2]
        node.hub.store_changed(StoreRestored())
        assert counts(client) == notices(node) == []

    def test_the_node_that_sent_a_wrong_notice_corrects_it_after_an_outage(self, node):
        (client,) = crowd(node, 1)
        # The other node sends the notice of a change on it.
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        node.hub.deliver(CountChanged(COUNTED.id, "news"))
        assert counts(client) == [1, 2]
        assert notices(node) == [1]
        # During the outage the other node sends a wrong notice, and is the one to correct it.
        node.store.join(COUNTED.id, "news", "9.8", None, 0)
        node.hub.store_changed(StoreRestored())

        assert counts(client) == [3]
        assert notices(node) == []

    def test_a_wrong_notice_is_corrected_even_if_other_nodes_are_restored_first(self, node):
        (client,) = crowd(node, 1)
        node.store.connected = False
        crowd(node, 1)
        node.store.connected = True
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        node.hub.deliver(CountChanged(COUNTED.id, "news"))
        assert counts(client) == [1, 2, 3]
        assert notices(node) == [1, 2]
        node.hub.store_changed(StoreRestored())

        assert counts(client) == []
        assert notices(node) == [3]

    def test_the_corrected_count_of_a_large_channel_waits_for_its_interval(self, node):
        crowd(node, LARGE_CHANNEL + 1)
        notices(node)
        node.store.join(COUNTED.id, "news", "9.9", None, 0)
        node.hub.store_changed(StoreRestored())
        node.turn()
        assert notices(node) == []
        node.clock.advance(LARGE_CHANNEL_INTERVAL)

        assert notices(node) == [LARGE_CHANNEL + 2]

    def test_changes_during_an_outage_are_published_afterwards(self):
        broker = HeldBroker()
        node = Node(broker=broker)
        (client,) = crowd(node, 1)
        broker.connected = False
        client.leave()
        node.turn()
        broker.held.clear()
        broker.connected = True
        node.hub.store_changed(StoreRestored())
        assert broker.held == [CountChanged(COUNTED.id, "news")]
        broker.release()
        node.turn()

        node.assert_empty()

    def test_changes_during_a_query_are_sent_afterwards(self):
        node = Node(make_store=SlowStore)
        clients = [node.connect(COUNTED) for _ in range(3)]
        node.store.holds = {"counts"}
        for client in clients:
            client.subscribe("news")
            node.turn()
        assert node.store.pending_calls == ["counts"]
        node.store.fire()
        node.turn()
        assert node.store.pending_calls == ["counts"]
        clients[2].leave()
        node.store.fire()
        node.turn()
        node.store.fire_all()

        assert counts(clients[0])[-1] == 2
        assert notices(node)[-1] == 2

    def test_a_store_that_fails_is_asked_again_at_the_next_change(self, logged):
        node = Node(make_store=SlowStore)
        clients = [node.connect(COUNTED) for _ in range(2)]
        node.store.holds = {"counts"}
        clients[0].subscribe("news")
        node.turn()
        node.store.fail(OSError("no"))
        assert [str(error) for error in logged.flush(OSError)] == ["no"]
        node.store.holds = set()
        clients[1].subscribe("news")

        assert counts(clients[0]) == [2]

    def test_a_failing_broker_affects_no_other_channel(self, logged):
        broker = _BrokenBroker()
        node = Node(broker=broker)
        client = node.connect(COUNTED)
        for channel in ("broken", "news"):
            client.subscribe(channel)

        assert counts(client) == [1]
        assert [str(error) for error in logged.flush(OSError)] == ["no"]
        client.leave()
        node.turn()
        assert logged.flush(OSError)
        node.assert_empty()


class _BrokenBroker(LocalBroker):
    def publish(self, envelope):
        if envelope.channel == "broken":
            raise OSError("no")
        super().publish(envelope)


class _Bus:
    """Carries envelopes between the nodes of one process, when the test releases them."""

    def __init__(self):
        self.brokers = []
        self.envelopes = []

    def release(self):
        envelopes, self.envelopes = self.envelopes, []
        for sender, envelope in envelopes:
            for broker in self.brokers:
                if broker is not sender:
                    broker._deliver(envelope)


class _BusBroker(LocalBroker):
    def __init__(self, bus):
        super().__init__()
        self.bus = bus
        bus.brokers.append(self)

    def publish(self, envelope):
        self.bus.envelopes.append((self, envelope))
        super().publish(envelope)


class _NodeOfMany(Node):
    """A node that shares its store and its clock with other nodes."""

    def __init__(self, bus, clock, store):
        self.clock, self.store, self.broker = clock, store, _BusBroker(bus)
        self.hub = Hub(
            broker=self.broker,
            store=store,
            apps=StaticApps((COUNTED,)),
            clock=clock,
            cache_ttl=TTL,
        )
        self.broker.start(self.hub.deliver)
        self.notices = []
        self.hub.add_listener(self.notices.append)
        self.clients = []


class _Cluster:
    """Two nodes, and a third whose subscriptions do not change."""

    def __init__(self, others):
        self.bus, self.clock = _Bus(), Clock()
        self.store = MemoryStore(self.clock.seconds)
        for number in range(others):
            self.store.join(COUNTED.id, "news", f"0.{number}", None, 0)
        self.nodes = [_NodeOfMany(self.bus, self.clock, self.store) for _ in range(2)]
        self.subscribed = []
        self.received = defaultdict(list)

    def join(self, index, channel):
        client = self.nodes[index].connect(COUNTED)
        client.subscribe(channel)
        self.subscribed.append((client, channel))

    def leave(self, index):
        if self.subscribed:
            client, _ = self.subscribed.pop(index % len(self.subscribed))
            client.leave()

    def release(self):
        self.bus.release()

    def wait(self, seconds):
        self.clock.advance(seconds)
        now = self.clock.seconds()
        for client, _ in self.subscribed:
            self.received[client] += [(now, count) for count in counts(client)]

    def settle(self):
        for _ in range(4):
            self.release()
            self.wait(LARGE_CHANNEL_INTERVAL)


step = st.one_of(
    st.tuples(st.just("join"), st.integers(0, 1), st.sampled_from(["news", "private-x"])),
    st.tuples(st.just("join"), st.integers(0, 1), st.just("news")),
    st.tuples(st.just("leave"), st.integers(0, 10)),
    st.tuples(st.just("release")),
    st.tuples(st.just("wait"), st.sampled_from([0, 0, 1, LARGE_CHANNEL_INTERVAL])),
)


@given(st.lists(step, max_size=60), st.sampled_from([0, LARGE_CHANNEL - 3, LARGE_CHANNEL + 1]))
def test_the_last_count_is_correct_once_changes_stop(steps, others):
    """Subscriptions change on any node; some channels are just below or above the limit."""
    cluster = _Cluster(others)
    for action, *arguments in steps:
        getattr(cluster, action)(*arguments)
    cluster.settle()

    for client, channel in cluster.subscribed:
        expected = result_of(cluster.store.counts(COUNTED.id, channel)).subscriptions
        assert cluster.received[client][-1][1] == expected
        if others > LARGE_CHANNEL and channel == "news":
            times = [when for when, _ in cluster.received[client]]
            assert all(
                later - earlier >= LARGE_CHANNEL_INTERVAL for earlier, later in pairwise(times)
            )
    while cluster.subscribed:
        cluster.leave(0)
    cluster.settle()
    assert [node.hub.sizes()["counted channels"] for node in cluster.nodes] == [0, 0]
