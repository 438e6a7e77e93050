"""The Redis brokers of several nodes: each subscriber gets each message once and in order."""

import pytest
from twisted.internet import defer
from twisted.logger import globalLogPublisher

from reverb.brokers import interest
from reverb.envelope import CountChanged, Publication, encode
from reverb.redis import connections as redis_connections
from tests.support.log import Log
from tests.support.redis_nodes import RedisNode
from tests.support.waiting import pause, until, wait

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def nodes(make_redis_node):
    one, other = make_redis_node(), make_redis_node()
    for node in (one, other):
        node.subscribe("news")
    return one, other


def settle(*nodes):
    """Wait until all messages published until now have arrived."""
    for node in nodes:
        wait(node.link.call("PING"))
    for node in nodes:
        wait(node.link.catch_up())


def test_publications_of_one_turn_are_one_write(nodes, monkeypatch):
    one, other = nodes
    writes = []
    transport = one.link._commands.transport
    monkeypatch.setattr(
        transport,
        "write",
        lambda data: (writes.append(data), type(transport).write(transport, data)),
    )
    for number in range(100):
        one.publish(b"%d" % number)
    assert one.payloads() == [
        b"%d" % number for number in range(100)
    ]  # Delivered without the round trip.
    assert writes == []
    settle(one, other)

    assert writes[0].count(b"PUBLISH") == 100
    assert other.payloads() == one.payloads()


def test_invalidations_of_a_channel_go_to_the_nodes_with_subscribers(nodes):
    one, other = nodes
    one.broker.publish(CountChanged("1", "news"))
    one.broker.publish(CountChanged("1", "other"))
    settle(one, other)

    assert one.delivered == [CountChanged("1", "news"), CountChanged("1", "other")]
    assert other.delivered == [CountChanged("1", "news")]


def test_the_last_publication_before_the_stop_arrives(nodes):
    one, other = nodes
    one.publish(b"last")
    one.stop()
    settle(other)

    assert other.payloads() == [b"last"]


def test_a_confirmed_subscription_receives_all_later_publications(nodes):
    one, other = nodes
    for number in range(50):
        pending = other.broker.subscribe("1", f"channel-{number}")
        assert pending is not None
        second = other.broker.subscribe("1", f"channel-{number}")
        assert second is not None
        wait(second)
        one.publish(b"%d" % number, channel=f"channel-{number}")
        wait(pending)
        assert other.broker.subscribe("1", f"channel-{number}") is None
    settle(one, other)

    assert other.payloads() == [b"%d" % number for number in range(50)]


def test_a_node_unsubscribes_after_a_delay_and_only_without_subscribers(nodes, monkeypatch, redis):
    one, other = nodes
    monkeypatch.setattr(interest, "UNSUBSCRIBE_DELAY", 0.2)
    name = f"{one.link.url.prefix}:1:news"

    def subscribers():
        return int(redis.ask("PUBSUB", "NUMSUB", name).split(":")[-1])

    assert subscribers() == 2
    other.broker.unsubscribe("1", "news")
    assert subscribers() == 2
    assert other.broker.subscribe("1", "news") is None
    pause(0.4)
    assert subscribers() == 2
    other.broker.unsubscribe("1", "news")
    until("unsubscribed", lambda: subscribers() == 1)
    other.subscribe("news")
    assert subscribers() == 2


def test_a_malformed_message_is_counted_logged_once_and_dropped(nodes, redis):
    one, other = nodes
    log = Log()
    globalLogPublisher.addObserver(log)
    prefix = one.link.url.prefix
    for message in ("", "hello", '{"event":"e"}', "\x93\x63"):
        redis.ask("PUBLISH", f"{prefix}:1:news", message)
        redis.ask("PUBLISH", prefix, message)
    one.publish(b"1")
    settle(one, other)
    globalLogPublisher.removeObserver(log)

    assert other.payloads() == [b"1"]
    assert one.broker.link_meter.dropped == other.broker.link_meter.dropped == 8
    assert len(log.lines("dropped ")) == 2  # One for each node.


@pytest.mark.parametrize(
    "payload", [b"\xff\xfe not text", b"text", b"{}", b"", b'{"event":"\xff"}']
)
def test_a_payload_that_no_client_can_read_is_dropped(nodes, redis, payload):
    one, other = nodes
    log = Log()
    globalLogPublisher.addObserver(log)
    topic = one.broker._topic("1", "news")
    message = encode("foreign", Publication("1", "news", payload))
    for _ in range(3):
        wait(one.link.call("PUBLISH", topic, message))
    one.publish(b"1")
    settle(one, other)
    globalLogPublisher.removeObserver(log)

    assert one.payloads() == other.payloads() == [b"1"]
    assert one.broker.link_meter.dropped == other.broker.link_meter.dropped == 3
    lines = log.lines("dropped ")
    assert len(lines) == 2  # One for each node.
    assert all(ascii(topic) in line and "the payload is invalid" in line for line in lines)


def test_a_delivery_that_fails_does_not_end_the_connection(make_redis_node):
    one, other = make_redis_node(), make_redis_node()
    other.subscribe("news")
    log = Log()
    globalLogPublisher.addObserver(log)
    other.broker._deliver = lambda envelope: 1 / 0
    one.publish(b"1")
    settle(one, other)
    other.broker._deliver = other.delivered.append
    one.publish(b"2")
    settle(one, other)
    globalLogPublisher.removeObserver(log)

    assert other.payloads() == [b"2"]
    assert len(log.problems()) == 1


def test_the_bus_carries_only_the_envelope(nodes):
    one, _ = nodes
    envelope = Publication("1", "news", b"{}", "1.1")
    one.broker.publish(envelope)
    settle(one)

    assert one.link.received == [
        (b"%b:1:news" % one.link.url.prefix.encode(), encode(one.name, envelope))
    ]


class TestOutage:
    @pytest.fixture
    def pair(self, own_redis):
        nodes = [RedisNode(own_redis.url()).start() for _ in range(2)]
        for node in nodes:
            node.subscribe("news")
        yield nodes
        for node in nodes:
            node.stop()

    def test_local_delivery_continues_and_nothing_is_queued(self, pair, own_redis):
        one, other = pair
        own_redis.kill()
        until("lost", lambda: not one.broker.connected and not other.broker.connected)
        assert one.broker.unavailable_reason.startswith("Redis is not connected: ")
        assert not any(one.publish(b"%d" % number) for number in range(1_000))
        assert one.broker.subscribe("1", "new") is None
        assert len(one.payloads()) == 1_000
        own_redis.start()
        for node in pair:
            node.until_connected()
        assert one.broker.unavailable_reason is None
        other.publish(b"after")
        other.publish(b"new", channel="new")
        settle(one, other)

        assert one.payloads()[1_000:] == [b"after", b"new"]
        assert other.payloads() == [b"after", b"new"]

    def test_a_redis_that_does_not_keep_up_is_disconnected(self, pair, own_redis, monkeypatch):
        monkeypatch.setattr(redis_connections, "MAX_UNANSWERED_BYTES", 100_000)
        one, _ = pair
        own_redis.pause()
        for _ in range(20):
            one.publish(b"x" * 10_000)
            pause(0.01)
        until("disconnected", lambda: not one.broker.connected, 1)

        assert "does not keep up" in one.broker.unavailable_reason
        assert len(one.payloads()) == 20

    def test_a_pending_subscription_fires_when_redis_dies(self, pair, own_redis):
        one, _ = pair
        own_redis.pause()
        pending = one.broker.subscribe("1", "new")
        assert not pending.called
        own_redis.kill()

        assert wait(defer.gatherResults([pending])) == [None]
