"""Apps are isolated from each other, even if all their names are the same."""

import pytest

from .conftest import APP, OTHER, result_of


@pytest.fixture
def pair(node):
    clients = [node.connect(APP), node.connect(OTHER)]
    for client in clients:
        client.sign_in("ann")
        for channel in ["news", "private-x", "cache-x", "#server-to-user-ann"]:
            client.subscribe(channel)
        client.subscribe("presence-x", "ann")
        client.take()
    return clients


@pytest.mark.parametrize("channel", ["news", "private-x", "cache-x", "#server-to-user-ann"])
def test_publications(node, pair, channel):
    node.publish(channel, app=APP)

    assert [client.events() for client in pair] == [["e"], []]


def test_client_events(node, pair):
    pair[0].client_event("private-x")

    assert pair[1].take() == []


def test_members(node, pair):
    bob = node.connect(APP)
    bob.subscribe("presence-x", "bob")

    assert [client.events() for client in pair] == [["member_added"], []]
    pair[0].leave()
    assert pair[1].take() == []
    assert dict(result_of(node.store.members(APP.id, "presence-x"))) == {"bob": "{}"}
    assert dict(result_of(node.store.members(OTHER.id, "presence-x"))) == {"ann": "{}"}


def test_caches(node, pair):
    node.publish("cache-x", app=APP)
    late = [node.connect(APP), node.connect(OTHER)]
    for client in late:
        client.subscribe("cache-x")

    assert [client.events()[1] for client in late] == ["e", "cache_miss"]


def test_terminations(node, pair):
    node.hub.terminate(OTHER, "ann")

    assert [client.connection.closed is None for client in pair] == [True, False]


def test_occupancy(node, pair):
    node.take_notices()
    pair[0].leave()

    assert ("ChannelVacated", "news") in node.take_notices()
    assert list(result_of(node.store.channels(OTHER.id, "news"))) == ["news"]
    pair[1].leave()
    node.assert_empty()
