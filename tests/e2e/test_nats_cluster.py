"""Nodes on different servers of a real NATS cluster, which lose them one after the other."""

import signal
import time

import pytest
from e2e_scaling import publish, status
from e2e_server import poll

from nats_cluster import NatsCluster


@pytest.fixture
def cluster(tmp_path):
    cluster = NatsCluster(tmp_path)
    yield cluster
    cluster.kill()


@pytest.fixture
def pair(cluster, start_node):
    """A node on the first server, and one on the second."""
    return [start_node(broker=cluster.url(first, "shop")) for first in range(2)]


@pytest.fixture
def cross(pair, connect):
    """Check that what is published on either node comes to both nodes' clients, once."""
    clients = [connect(node) for node in pair]
    for client in clients:
        client.subscribe("news")

    def check():
        for number, node in enumerate(pair):
            publish(node, "news", number)
        for client in clients:
            while len(client.heard) < len(pair):
                client.read()
            client.catch_up()
            assert sorted(client.heard) == [0, 1]
            client.heard.clear()

    return check


def are_on(server, count):
    """Tell whether a server has the interest of so many nodes."""
    return server.subscriptions("shop.channel.1001.news") == count


def until_moved(nodes, server, count):
    poll("moved", lambda: are_on(server, count))
    for node in nodes:
        poll("ready", lambda node=node: status(node, "/ready")[0] == 200)
    time.sleep(0.5)  # Interest takes a moment to the other servers.


def test_nodes_are_on_different_servers_and_follow_the_cluster(cluster, pair, cross):
    first, second, third = cluster.servers
    one, other = pair
    assert are_on(first, 1)
    assert are_on(second, 1)
    cross()

    # Its server dies: it goes to the next, and nobody else notices.
    first.kill()
    until_moved([one], second, 2)
    cross()
    assert one.log.count("connected to NATS") == 2
    assert other.log.count("connected to NATS") == 1

    # Both are asked to go, as before an upgrade.
    second.process.send_signal(signal.SIGUSR2)
    until_moved(pair, third, 2)
    cross()
    for node in pair:
        assert status(node, "/ready")[0] == 200


def test_from_a_server_that_stands_still_a_node_goes_to_the_next(cluster, pair, cross):
    first, second, _ = cluster.servers
    cross()
    connections = first.monitoring_data("/varz")["total_connections"]
    first.pause()
    until_moved([pair[0]], second, 2)
    cross()
    first.resume()
    # It has not been tried once more, which would have taken as long again.
    assert first.monitoring_data("/varz")["total_connections"] == connections
