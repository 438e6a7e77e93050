"""The Redis store and the Redis broker pass the contracts, on a real Redis."""

import pytest
from twisted.internet import defer, reactor

from reverb.envelope import Publication, Termination
from reverb.interfaces import ChannelCounts
from reverb.protocol.messages import Member
from reverb.testing.contracts import (
    BrokerContract,
    SharedBrokerContract,
    SharedStoreContract,
    StoreContract,
)
from reverb.testing.contracts.broker import ENVELOPES
from tests.support.redis_nodes import RedisNode
from tests.support.unique import unique
from tests.support.waiting import pause, until, wait

pytestmark = pytest.mark.outside_reactor


class Stores:
    """Makes stores that share a key prefix; each has a broker of its own, as on a real node."""

    @pytest.fixture
    def deployment(self, redis):
        self.prefix = unique("contract")
        self.url = redis.url(self.prefix)
        self.nodes = {}
        yield
        for node in self.nodes.values():
            node.stop()
        assert {key for key in redis.keys(self.prefix) if ":cache:" not in key} == set()

    def make_store(self, clock):
        node = RedisNode(self.url).start()
        self.nodes[node.store] = node
        return node.store

    def wait(self, deferred):
        return wait(deferred)

    def subscribe_broker(self, store, app, channel):
        self.nodes[store].subscribe(channel, app)


class TestRedisStore(Stores, StoreContract):
    def pass_time(self, seconds):
        pause(seconds)


class TestSharedRedisStore(Stores, SharedStoreContract):
    def until(self, what, is_true):
        until(what, is_true)


class Brokers:
    """Makes brokers that share a key prefix."""

    @pytest.fixture
    def deployment(self, redis):
        self.url = redis.url(unique("contract"))
        self.brokers = []

    def make_broker(self):
        self.brokers.append(RedisNode(self.url).broker)
        return self.brokers[-1]

    def start(self, broker, delivered):
        super().start(broker, delivered)
        until("the broker is connected", lambda: broker.connected)

    def wait(self, deferred):
        if deferred is not None:
            wait(deferred)

    def settle(self):
        """Wait until all publications have arrived, and any echoes of them."""
        links = [broker.link for broker in self.brokers if broker.connected]
        wait(defer.gatherResults([link.call("PING") for link in links]))
        wait(defer.gatherResults([link.catch_up() for link in links]))


class TestRedisBroker(Brokers, BrokerContract):
    pass


class TestSharedRedisBroker(Brokers, SharedBrokerContract):
    pass


def test_the_contract_has_envelopes_of_both_kinds():
    assert {type(envelope) for envelope in ENVELOPES} == {Publication, Termination}


@pytest.mark.slow
class TestPausedRedis:
    """Redis does not answer for 3 s: nobody waits that long, and nothing is announced twice."""

    PAUSE = 3
    CHANNEL = "presence-x"

    @pytest.fixture
    def nodes(self, redis, make_redis_node):
        nodes = [make_redis_node(), make_redis_node()]
        for number, node in enumerate(nodes):
            node.join(f"stays{number}")
            node.leaving, _ = node.join(f"leaves{number}")
        until("all members are known", lambda: all(len(node.view()) == 4 for node in nodes))
        for node in nodes:
            node.member_changes()
        redis.ask("CLIENT", "PAUSE", str(1000 * self.PAUSE), "ALL")
        self.paused_at = reactor.seconds()
        return nodes

    def during_pause(self, *deferreds):
        """Wait for results, and check that they came while Redis was paused."""
        results = wait(defer.gatherResults(deferreds))
        assert reactor.seconds() < self.paused_at + self.PAUSE - 0.2
        return results

    def after_pause(self, nodes):
        """Wait until Redis has handled everything, and the node has reconciled what it answered."""
        for _ in range(3):  # The overdue commands, what the node then writes, and its effects.
            for node in nodes:
                wait(node.link.call("PING"))
                wait(node.link.catch_up())
            pause(0.05)

    def join(self, node, user, socket_id, channel=CHANNEL):
        return node.store.join("1", channel, socket_id, Member(user, "{}"), 0)

    def test_each_member_is_announced_exactly_once(self, nodes):
        one, two = nodes
        results = self.during_pause(
            *(self.join(one, f"new{number}", f"1.{number}") for number in range(5)),
            self.join(two, "other", "2.1"),
            self.join(one, "first", "3.1", "presence-new"),
            one.store.leave("1", self.CHANNEL, one.leaving),
        )
        assert set(results[4].members) >= {"stays0", "new0", "new4"}
        # Redis is known to be late, so the next client does not wait at all.
        brief = self.join(one, "brief", "1.9")
        assert brief.called
        assert one.store.leave("1", self.CHANNEL, "1.9").called
        self.after_pause(nodes)

        news = [f"new{number}" for number in range(5)]
        changes = one.member_changes()
        assert sorted(changes) == sorted(
            [*(f"+{user}" for user in [*news, "other", "first", "brief"]), "-leaves0", "-brief"]
        )
        others = [change for change in two.member_changes() if change[1:] != "brief"]
        assert sorted(others) == sorted([*(f"+{u}" for u in [*news, "other"]), "-leaves0"])
        members = {"stays0", "stays1", "leaves1", "other", *news}
        for node in nodes:
            assert node.view() == members
            assert set(node.members()) == members
            assert wait(node.store.counts("1", self.CHANNEL)) == ChannelCounts(9, 9)

    def test_a_user_who_is_connected_to_another_node_returns(self, redis, make_redis_node):
        one, two = make_redis_node(), make_redis_node()
        one.join("stays")
        both, _ = one.join("both")
        two.join("both")
        until("all are known", lambda: one.view() == {"stays", "both"})
        one.member_changes()
        redis.ask("CLIENT", "PAUSE", "3000", "ALL")
        wait(one.store.leave("1", self.CHANNEL, both))
        self.after_pause([one, two])

        assert one.member_changes() == ["-both", "+both"]
        assert one.view() == two.view() == {"stays", "both"}

    def test_queries_and_connections_are_answered_from_the_local_state(self, nodes):
        one, two = nodes
        store = one.store
        admitted, refused, connections, counts, members, occupied, channels, event = (
            self.during_pause(
                store.connect("1", "1.1", 1),
                store.connect("1", "1.2", 1),
                store.connections("1"),
                store.counts("1", self.CHANNEL),
                store.members("1", self.CHANNEL),
                store.occupied("1", [self.CHANNEL, "elsewhere"]),
                store.channels("1", ""),
                store.get_cached_event("1", "cache-x"),
            )
        )
        assert (admitted, refused) == (True, False)
        assert connections <= 2  # Before the second client is refused, it is counted.
        assert counts == ChannelCounts(2, 2)
        assert set(members) == {"stays0", "stays1", "leaves0", "leaves1"}
        assert dict(occupied) == {self.CHANNEL: True}
        assert dict(channels) == {self.CHANNEL: ChannelCounts(2, 2)}
        assert event is None
        self.after_pause(nodes)

        assert wait(two.store.connections("1")) == 1
        assert wait(two.store.counts("1", self.CHANNEL)) == ChannelCounts(4, 4)
        assert one.member_changes() == []
        wait(store.disconnect("1", "1.1"))
        assert wait(two.store.connections("1")) == 0

    def test_a_new_topic_does_not_keep_a_client_waiting(self, nodes):
        waiting = nodes[0].broker.subscribe("1", "news")
        self.during_pause(waiting)
        # The bus is late, so the store answers at once.
        assert nodes[0].store.join("1", "news", "1.1", None, 0).called
        self.after_pause(nodes)

        nodes[1].publish(b"hello")
        until("the event arrives", lambda: b"hello" in nodes[0].payloads())

    def test_a_member_over_the_limit_is_counted_afterwards(self, nodes):
        """As after an outage: a node admits by what it knows, and Redis takes it over."""
        one, two = nodes
        store = two.store
        first, second = (Member(user, "{}") for user in ["first", "second"])
        self.during_pause(
            one.store.join("1", "presence-small", "1.1", first, 1),
            store.join("1", "presence-small", "2.1", second, 1),
        )
        self.after_pause(nodes)
        until("both are members", lambda: len(two.members("presence-small")) == 2)
        until("both nodes agree", lambda: one.view("presence-small") == {"first", "second"})

        assert one.member_changes() == ["+first", "+second"]
