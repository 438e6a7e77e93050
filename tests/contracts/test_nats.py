"""The NATS broker, alone and combined with Redis, fulfills the contracts with real servers."""

import pytest
from twisted.internet import defer

from reverb.envelope import Publication
from reverb.testing.contracts import BrokerContract, SharedBrokerContract, SharedStoreContract
from tests.support.nats_nodes import NatsNode, SplitNode, settle
from tests.support.payloads import wrap
from tests.support.unique import unique
from tests.support.waiting import until, wait

pytestmark = [pytest.mark.outside_reactor, pytest.mark.asyncio_reactor]


class Brokers:
    def start(self, broker, delivered):
        super().start(broker, delivered)
        until("connected", lambda: broker.connected)

    def wait(self, deferred):
        if deferred is not None:
            wait(deferred)


class NatsBrokers(Brokers):
    """Creates brokers that share a prefix."""

    @pytest.fixture
    def deployment(self, nats):
        self.url = nats.url(unique("contract"))
        self.links = []

    def make_broker(self):
        node = NatsNode(self.url)
        self.links.append(node.link)
        return node.broker

    def settle(self):
        settle(*self.links)


class TestNatsBroker(NatsBrokers, BrokerContract):
    pass


class TestSharedNatsBroker(NatsBrokers, SharedBrokerContract):
    pass


class SplitNodes(Brokers):
    """Creates nodes of one deployment."""

    @pytest.fixture
    def deployment(self, nats, redis):
        prefix = unique("contract")
        self.urls = redis.url(prefix), nats.url(prefix)
        self.nodes = []

    def make_node(self):
        self.nodes.append(SplitNode(*self.urls))
        return self.nodes[-1]

    def settle(self):
        settle(*(node.nats.link for node in self.nodes))
        links = [node.link for node in self.nodes if node.link.is_open]
        wait(defer.gatherResults([link.call("PING") for link in links]))
        wait(defer.gatherResults([link.catch_up() for link in links]))


class SplitBrokers(SplitNodes):
    def make_broker(self):
        return self.make_node().broker


class TestSplitBroker(SplitBrokers, BrokerContract):
    pass


class TestSharedSplitBroker(SplitBrokers, SharedBrokerContract):
    @pytest.mark.parametrize("channel", ["cache-news", "presence-x", "presence-cache-x"])
    def test_every_kind_of_channel_crosses_nodes_once(self, channel):
        sent = [Publication("1", channel, wrap(b"%d" % n)) for n in range(50)]
        assert self.other.subscribe("1", channel) is not None
        self.wait(self.other.subscribe("1", channel))
        for envelope in sent:
            self.one.publish(envelope)
        self.settle()

        assert self.at_other == sent


class TestSharedStoreWithNats(SplitNodes, SharedStoreContract):
    def make_store(self, clock):
        return self.make_node().start().store

    @pytest.fixture(autouse=True)
    def _stop(self, _make):
        yield
        for node in self.nodes:
            node.stop()

    def wait(self, deferred):
        return wait(deferred)

    def subscribe_broker(self, store, app, channel):
        (node,) = [node for node in self.nodes if node.store is store]
        node.subscribe(channel, app)

    def until(self, what, is_true):
        until(what, is_true)
