"""The Redis store and the Redis broker pass the contracts, on a real Redis."""

import pytest
from twisted.internet import defer

from reverb.envelope import Publication, Termination
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
