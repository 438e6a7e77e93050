"""A failing store: the client receives an error, the failure is logged, and no state leaks."""

import pytest

from reverb.interfaces import StoreRefusedError

from .conftest import APP, Node, result_of
from .slow_store import SlowStore

SERVER_ERROR = (
    "error",
    None,
    {"code": None, "message": "The server could not do this now; try again"},
)


def failed_subscription(channel):
    """Return the messages to a client whose subscription the store has failed to perform."""
    data = {"type": "SubscriptionError", "error": SERVER_ERROR[2]["message"]}
    return [SERVER_ERROR, ("subscription_error", channel, data)]


class StoreError(Exception):
    """An unexpected failure of a store."""


@pytest.fixture
def node():
    return Node(make_store=SlowStore)


@pytest.fixture
def broken(node, logged):
    """Make methods of the store fail; each must cause exactly one logged failure."""
    names = []

    def fail_method(name):
        node.store.fails[name] = StoreError(name)
        names.append(name)

    yield fail_method
    assert [str(error) for error in logged.flush(StoreError)] == names


@pytest.mark.parametrize("channel", ["news", "cache-x", "presence-x"])
def test_a_subscription_that_failed_can_be_tried_again(node, broken, channel):
    client = node.connect()
    broken("join")
    assert client.subscribe(channel, "ann") is None

    assert client.take() == failed_subscription(channel)
    assert client.session.channels == {}
    assert node.hub.channels == {}
    node.store.fails.clear()
    client.subscribe(channel, "ann")
    assert client.events()[0] == "subscription_succeeded"


def test_a_subscription_that_fails_later(node, logged):
    client = node.connect()
    node.store.holds = {"join"}
    done = client.subscribe("news")
    node.store.fail(StoreError())

    assert done.called
    assert client.take() == failed_subscription("news")
    assert len(logged.flush(StoreError)) == 1
    client.leave()
    node.assert_empty()


def test_a_subscription_that_fails_after_the_client_left(node, logged):
    client = node.connect()
    node.store.holds = {"join"}
    client.subscribe("news")
    client.leave()
    node.store.fail(StoreError())

    assert len(logged.flush(StoreError)) == 1
    node.assert_empty()


def test_a_failed_unsubscription_ends_on_this_node(node, broken):
    client = node.connect()
    client.subscribe("news")
    client.take()
    broken("leave")
    client.unsubscribe("news")
    node.publish("news")

    assert client.take() == [SERVER_ERROR]
    assert client.session.channels == {}
    client.leave()
    node.assert_empty()


def test_a_replay_that_failed_leaves_the_subscription(node, broken):
    client = node.connect()
    broken("get_cached_event")
    client.subscribe("cache-x")

    assert client.take() == [("subscription_succeeded", "cache-x", {}), SERVER_ERROR]
    node.publish("cache-x")
    assert client.events() == ["e"]
    client.leave()
    node.assert_empty()


def test_a_publication_that_could_not_be_cached_is_delivered(node, broken):
    client = node.connect()
    client.subscribe("cache-x")
    client.take()
    broken("cache_event")
    node.publish("cache-x")

    assert client.events() == ["e"]


def test_a_session_ends_although_the_store_fails(node, broken):
    client = node.connect()
    client.subscribe("news")
    broken("disconnect")
    node.take_notices()
    client.leave()

    node.assert_empty()
    assert [name for name, *_ in node.take_notices()] == ["ChannelVacated", "Disconnected"]


def test_a_disconnected_client_leaves_all_channels_despite_failures(node, logged):
    client, other = node.connect(), node.connect()
    for channel in ["a", "b", "c"]:
        client.subscribe(channel)
        other.subscribe(channel)
    node.store.fails["leave"] = StoreError()
    client.leave()

    assert len(logged.flush(StoreError)) == 3
    for channel in node.hub.channels.values():
        assert list(channel.subscribers) == [other.socket_id]


def test_a_connection_that_could_not_be_counted_is_not_admitted(node):
    node.store.fails["connect"] = StoreError()

    with pytest.raises(StoreError):
        node.connect()

    node.assert_empty()
    assert node.take_notices() == []


def test_a_failure_affects_no_other_client(node, broken):
    one, other = node.connect(), node.connect()
    broken("join")
    one.subscribe("news")
    node.store.fails.clear()
    other.subscribe("news")
    node.publish("news")

    assert one.events() == ["error", "subscription_error"]
    assert other.events() == ["subscription_succeeded", "e"]
    assert result_of(node.store.counts(APP.id, "news")).subscriptions == 1


def test_the_error_does_not_reveal_the_failure(node, logged):
    client = node.connect()
    node.store.fails["join"] = StoreError("redis://user:password@host")
    client.subscribe("news")

    assert b"password" not in b"".join(client.connection.payloads())
    logged.flush(StoreError)


def test_a_refusal_of_the_store_is_sent_to_the_client_and_not_logged_twice(node):
    client = node.connect()
    node.store.fails["join"] = StoreRefusedError("join 1 news failed: WRONGTYPE")
    client.subscribe("news")

    assert client.take() == failed_subscription("news")
