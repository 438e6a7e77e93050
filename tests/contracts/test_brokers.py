"""The brokers in memory fulfill the broker contract."""

from reverb.brokers.local import LocalBroker
from reverb.testing import HeldBroker
from reverb.testing.contracts import BrokerContract
from reverb.testing.contracts.broker import FIRST


class TestLocalBroker(BrokerContract):
    def make_broker(self):
        return LocalBroker()


class TestHeldBroker(BrokerContract):
    def make_broker(self):
        return HeldBroker()

    def settle(self):
        self.broker.release()

    def test_the_publishing_node_is_served_before_publish_returns(self):
        """Override: this broker's purpose is to hold envelopes back."""
        self.broker.publish(FIRST)

        assert self.delivered == []
        self.broker.release()
        assert self.delivered == [FIRST]
