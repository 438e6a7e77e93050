"""The Redis store and broker keep the contracts, with a real Redis."""

import pytest

from redis_nodes import Node, _numbers, pause, redis, until, wait  # noqa: F401 - a fixture
from reverb.brokers.envelope import Publication, Termination

from .broker_contract import BrokerContract
from .store_contract import StoreContract

pytestmark = pytest.mark.outside_reactor


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _make(self, redis):  # noqa: F811
        self.redis = redis
        self.prefix = f"contract{next(_numbers)}"
        self.node = Node(redis.url(self.prefix)).start()
        self.store = self.node.store
        yield
        self.node.stop()
        left = {key for key in redis.keys(self.prefix) if ":cache:" not in key}
        assert left == set()

    def wait(self, deferred):
        return wait(deferred)

    def join(self, socket_id, channel="news", member=None, *, limit=0, app="1"):
        self.node.subscribe(channel, app)
        return super().join(socket_id, channel, member, limit=limit, app=app)

    def pass_time(self, seconds):
        pause(seconds)


class TestRedisBroker(BrokerContract):
    @pytest.fixture(autouse=True)
    def _make(self, redis):  # noqa: F811
        self.redis = redis
        self.prefix = f"contract{next(_numbers)}"
        self.broker = self.make_broker()
        self.delivered = []
        self.wait(self.broker.start(self.delivered.append))
        until("connected", lambda: self.broker.connected)
        for app_id, channel in (("1", "news"), ("2", "presence-x"), ("1", "c0")):
            self.wait(self.broker.subscribe(app_id, channel))
        yield
        self.wait(self.broker.stop())

    def make_broker(self):
        return Node(self.redis.url(self.prefix)).broker

    def wait(self, deferred):
        if deferred is not None:
            wait(deferred)

    def settle(self):
        """Give echoes the time to come, if there are any."""
        if self.broker.connected:
            for _ in range(2):
                wait(self.broker._link.ask("PING"))
                wait(self.broker._link.catch_up())


def test_the_envelopes_of_the_contract_are_of_every_kind():
    from .broker_contract import ENVELOPES  # noqa: PLC0415

    assert {type(envelope) for envelope in ENVELOPES} == {Publication, Termination}
