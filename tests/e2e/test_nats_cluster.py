"""Nodes on different servers of a real NATS cluster, whose servers fail one after the other."""

import signal
import time

import pytest

from tests.support.nats_cluster import NatsCluster

from .scaling import is_ready, publish
from .server import poll


@pytest.fixture
def cluster(tmp_path):
    cluster = NatsCluster(tmp_path)
    yield cluster
    cluster.kill()


@pytest.fixture
def pair(cluster, start_node):
    """A node connected to the first server, and one to the second."""
    return [start_node(broker=cluster.url(first, "shop")) for first in range(2)]


@pytest.fixture
def check_delivery(pair, connect):
    """Check that an event published on either node reaches the clients of both nodes once."""
    clients = [connect(node) for node in pair]
    for client in clients:
        client.subscribe("news")

    def check():
        for number, node in enumerate(pair):
            publish(node, "news", number)
        for client in clients:
            while len(client.received) < len(pair):
                client.read()
            client.catch_up()
            assert sorted(client.received) == [0, 1]
            client.received.clear()

    return check


def has_nodes(server, count):
    """Return whether this number of nodes has subscribed at a server."""
    return server.subscriptions("shop.channel.1001.news") == count


def wait_until_moved(nodes, server, count):
    poll(f"{count} nodes use the server", lambda: has_nodes(server, count))
    for node in nodes:
        poll("the node is ready", lambda node=node: is_ready(node))
    time.sleep(0.5)  # Interest takes a moment to reach the other servers.


def test_nodes_on_different_servers_follow_the_cluster(cluster, pair, check_delivery):
    first, second, third = cluster.servers
    one, other = pair
    assert has_nodes(first, 1)
    assert has_nodes(second, 1)
    check_delivery()

    # A server dies: its node connects to the next server; the other node is not affected.
    first.kill()
    wait_until_moved([one], second, 2)
    check_delivery()
    assert one.log.count("connected to NATS") == 2
    assert other.log.count("connected to NATS") == 1

    # A server in lame duck mode, as before an upgrade, asks both nodes to disconnect.
    second.process.send_signal(signal.SIGUSR2)
    wait_until_moved(pair, third, 2)
    check_delivery()
    for node in pair:
        assert is_ready(node)


def test_a_node_moves_from_a_paused_server_to_the_next(cluster, pair, check_delivery):
    first, second, _ = cluster.servers
    check_delivery()
    connections = first.monitoring_data("/varz")["total_connections"]
    first.pause()
    wait_until_moved([pair[0]], second, 2)
    check_delivery()
    first.resume()
    # The node did not try the paused server again, which would have doubled the delay.
    assert first.monitoring_data("/varz")["total_connections"] == connections
