"""Runs the NATS brokers of several nodes in one process, on the asyncio reactor."""

import pytest
from twisted.internet import reactor

from reverb.brokers.split import SplitBroker
from reverb.envelope import Publication
from reverb.nats.broker import NatsBroker
from reverb.nats.link import NatsLink
from reverb.nats.url import parse_nats_url
from tests.support.payloads import unwrap, wrap
from tests.support.redis_nodes import RedisNode
from tests.support.unique import unique
from tests.support.waiting import until, wait


class NatsNode:
    """One node's broker, with its deliveries."""

    def __init__(self, url):
        self.name = unique("node")
        self.link = NatsLink(parse_nats_url(url), reactor=reactor, node=self.name)
        self.broker = NatsBroker(self.link)
        self.delivered = []

    def start(self):
        wait(self.broker.start(self.delivered.append))
        self.until_connected()
        return self

    def until_connected(self):
        until("connected", lambda: self.broker.connected)

    def stop(self):
        wait(self.broker.stop())

    def subscribe(self, channel, app="1"):
        waiting = self.broker.subscribe(app, channel)
        if waiting is not None:
            wait(waiting)

    def publish(self, data, channel="news", exclude=None):
        return self.broker.publish(Publication("1", channel, wrap(data), exclude))

    def payloads(self):
        return [unwrap(envelope.payload) for envelope in self.delivered]


class SplitNode(RedisNode):
    """One node's Redis store, with a broker on NATS and Redis."""

    def __init__(self, redis_url, nats_url):
        super().__init__(redis_url)
        self.nats = NatsNode(nats_url)
        self.broker = SplitBroker(self.nats.broker, self.broker)


def settle(*links):
    """Wait until all messages published until now have arrived."""
    for _ in range(2):
        for link in links:
            wait(link.catch_up())


@pytest.fixture
def make_nats_node(nats):
    """Create nodes that share a prefix, and stop them after the test."""
    nodes = []
    url = nats.url(unique("test"))

    def make():
        nodes.append(NatsNode(url))
        return nodes[-1].start()

    yield make
    for node in nodes:
        node.stop()
