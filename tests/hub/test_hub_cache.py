"""Cache channels: a new subscriber receives the last event that the server published."""

import pytest

from .conftest import TTL

CACHED = ["cache-x", "private-cache-x", "private-encrypted-cache-x"]


@pytest.fixture
def late(node):
    """Return a function that subscribes a new client and returns its messages."""

    def subscribe(channel="cache-x", member=None):
        client = node.connect()
        client.subscribe(channel, member)
        return client.take()

    return subscribe


@pytest.mark.parametrize("channel", CACHED)
def test_a_channel_without_a_cached_event(late, channel):
    assert late(channel) == [
        ("subscription_succeeded", channel, {}),
        ("cache_miss", channel, {}),
    ]


@pytest.mark.parametrize("channel", CACHED)
def test_the_last_event_comes_right_after_the_confirmation(node, late, channel):
    node.publish(channel, "1", event="old")
    node.publish(channel, '{"a":2}', event="new")

    assert late(channel) == [
        ("subscription_succeeded", channel, {}),
        ("new", channel, {"a": 2}),
    ]


def test_a_presence_channel_sends_its_members_first(node, late):
    node.publish("presence-cache-x")

    assert [event for event, *_ in late("presence-cache-x", "ann")] == [
        "subscription_succeeded",
        "e",
    ]


@pytest.mark.parametrize("channel", ["news", "private-x", "presence-x", "my-cache-x"])
def test_other_channels_cache_nothing(node, late, channel):
    node.publish(channel)

    events = [event for event, *_ in late(channel, "ann")]
    assert events == ["subscription_succeeded"]


def test_an_event_is_cached_without_subscribers_and_after_the_last(node, late):
    client = node.connect()
    client.subscribe("cache-x")
    node.publish("cache-x")
    client.leave()

    assert node.hub.channels == {}
    assert late()[1] == ("e", "cache-x", 1)


def test_a_cached_event_expires(node, late):
    node.publish("cache-x")
    node.clock.advance(TTL - 0.5)
    assert late()[1][0] == "e"

    node.clock.advance(0.5)
    assert late()[1][0] == "cache_miss"


def test_a_newer_event_restarts_the_ttl(node, late):
    node.publish("cache-x", "1")
    node.clock.advance(TTL - 1)
    node.publish("cache-x", "2")
    node.clock.advance(TTL - 1)

    assert late()[1] == ("e", "cache-x", 2)


def test_reading_does_not_restart_the_ttl(node, late):
    node.publish("cache-x")
    node.clock.advance(TTL - 1)
    late()
    node.clock.advance(1)

    assert late()[1][0] == "cache_miss"


def test_client_events_are_not_cached(node, late):
    client = node.connect()
    client.subscribe("private-cache-x")
    node.publish("private-cache-x", "1")
    client.client_event("private-cache-x", 2)

    assert late("private-cache-x")[1] == ("e", "private-cache-x", 1)


def test_member_events_are_not_cached(node, late):
    ann, bob = node.connect(), node.connect()
    ann.subscribe("presence-cache-x", "ann")
    node.publish("presence-cache-x", "1")
    bob.subscribe("presence-cache-x", "bob")
    bob.leave()

    assert late("presence-cache-x", "eve")[1] == ("e", "presence-cache-x", 1)


def test_an_event_with_an_excluded_connection_is_cached(node, late):
    client = node.connect()
    client.subscribe("cache-x")
    client.take()
    node.publish("cache-x", "1", exclude=client.socket_id)

    assert client.take() == []
    assert late()[1] == ("e", "cache-x", 1)
    client.unsubscribe("cache-x")
    client.subscribe("cache-x")
    assert client.take()[1] == ("e", "cache-x", 1)


def test_a_publication_of_the_same_turn_is_received_once(node, late):
    early = node.connect()
    early.subscribe("cache-x")
    early.take()

    node.publish("cache-x", "1")
    messages = late()

    assert messages == [("subscription_succeeded", "cache-x", {}), ("e", "cache-x", 1)]
    assert early.take() == [("e", "cache-x", 1)]


def test_a_replay_is_sent_to_the_new_subscriber_only(node, late):
    early = node.connect()
    early.subscribe("cache-x")
    node.publish("cache-x")
    early.take()
    late()

    assert early.take() == []


def test_channels_do_not_share_cached_events(node, late):
    node.publish("cache-x")

    assert late("cache-y")[1][0] == "cache_miss"
    assert late("private-cache-x")[1][0] == "cache_miss"


@pytest.mark.parametrize("data", ["", "text", "123", "[]", '"x"', "\u00e9\0\U0001f600"])
def test_data_is_replayed_as_it_was_published(node, data):
    live, late = node.connect(), node.connect()
    live.subscribe("cache-x")
    node.publish("cache-x", data)
    node.turn()
    late.subscribe("cache-x")

    assert late.connection.payloads()[-1] == live.connection.payloads()[-1]
