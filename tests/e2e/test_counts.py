"""Subscription counts, of one node and of several: pusher-js and a real Redis."""

import pytest

from .javascript import Clients
from .scaling import publish, status
from .server import APP, APP_OPTIONS, poll
from .webhooks import NodeSdk, Receiver

COUNTS_ENABLED = "[app_defaults]\nsubscription_counts = true\n"


@pytest.fixture
def counting_nodes(start_node):
    """Two nodes that send subscription counts."""
    return [start_node(extra_config=COUNTS_ENABLED) for _ in range(2)]


def last_count(client):
    """Read all messages, and return the last count or data."""
    client.catch_up()
    return client.received[-1] if client.received else None


def test_pusher_js_receives_counts(start_server, clients: Clients, tmp_path):
    config = tmp_path / "reverb.toml"
    config.write_text(COUNTS_ENABLED)
    server = start_server("--port", "0", "--config", str(config), *APP_OPTIONS)
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    alice.subscribe("private-room")
    assert alice.next("private-room") == ["pusher:subscription_count", {"subscription_count": 1}]
    bob.subscribe("private-room")
    for client in (alice, bob):
        received = client.next("private-room")
        assert received == ["pusher:subscription_count", {"subscription_count": 2}]
        assert client.do("subscription_count", channel="private-room") == 2
    bob.do("unsubscribe", channel="private-room")

    assert alice.next("private-room") == ["pusher:subscription_count", {"subscription_count": 1}]
    assert alice.do("subscription_count", channel="private-room") == 1
    alice.subscribe("presence-room")
    with server.sdk_session() as sdk:
        sdk.trigger("presence-room", "after", "it")
    assert alice.next("presence-room") == ["after", "it"]


def test_counts_include_all_nodes(counting_nodes, connect):
    here, there = (connect(server) for server in counting_nodes)
    here.subscribe("news")
    here.assert_received("#1")
    there.subscribe("news")
    for client in (here, there):
        client.assert_received("#2")
    another = connect(counting_nodes[1])
    another.subscribe("news")
    for client in (here, there, another):
        client.assert_received("#3")
    another.socket.close()
    there.unsubscribe("news")
    poll("the count is 1", lambda: last_count(here) == "#1")
    there.catch_up()
    assert "#1" not in there.received


def test_the_count_after_a_node_is_killed(start_node, connect):
    survivor, other, victim = (start_node(extra_config=COUNTS_ENABLED) for _ in range(3))
    here, there = connect(survivor), connect(other)
    for client in (here, there):
        client.subscribe("news")
    for _ in range(3):
        connect(victim).subscribe("news")
    for client in (here, there):
        poll("the count is 5", lambda client=client: last_count(client) == "#5")
        client.received.clear()
    victim.kill()

    for client in (here, there):
        client.assert_received("#2")
        client.assert_nothing_received()


def test_the_count_after_a_node_is_stopped(counting_nodes, connect):
    remaining = connect(counting_nodes[0])
    remaining.subscribe("news")
    for _ in range(20):
        connect(counting_nodes[1]).subscribe("news")
    poll("the count is 21", lambda: last_count(remaining) == "#21")
    counting_nodes[1].terminate()
    assert counting_nodes[1].wait() is not None

    poll("the count is 1", lambda: last_count(remaining) == "#1")


def test_the_count_after_an_outage_of_redis(redis, counting_nodes, connect):
    here, there, leaving = (
        connect(counting_nodes[0]),
        connect(counting_nodes[1]),
        connect(counting_nodes[1]),
    )
    for client in (here, there, leaving):
        client.subscribe("news")
    for client in (here, there):
        poll("the count is 3", lambda client=client: last_count(client) == "#3")
    redis.kill()
    for server in counting_nodes:
        poll("the node is not ready", lambda server=server: status(server, "/ready")[0] == 503)
    leaving.socket.close()
    new_clients = [connect(counting_nodes[0]) for _ in range(3)]
    for client in new_clients:
        client.subscribe("news")
    poll("the count of this node is 4", lambda: last_count(here) == "#4")
    redis.start()

    for client in (here, there, *new_clients):
        poll("the count is 5", lambda client=client: last_count(client) == "#5")
    publish(counting_nodes[0], "news", "still")
    poll("the event is delivered", lambda: last_count(there) == "still")


@pytest.fixture
def receiver():
    sdk = NodeSdk()
    running = Receiver(sdk)
    yield running
    running.close()
    sdk.close()
    assert running.problems == []


@pytest.fixture
def nodes_with_webhook(redis, start_node, receiver):  # Redis must outlive the nodes.
    """Two nodes that send subscription counts to clients and to an endpoint."""
    app = f'[[apps]]\nid = "{APP.id}"\nkey = "{APP.key}"\nsecret = "{APP.secret}"\n'
    webhook = f'[[apps.webhooks]]\nurl = "{receiver.url("/")}"\nevents = ["subscription_count"]\n'
    return [start_node(extra_config=COUNTS_ENABLED + app + webhook) for _ in range(2)]


def numbers_until(receiver, number):
    """Return the counts that the endpoint receives, up to a number."""
    requests = receiver.receive_until(lambda event: event["subscription_count"] == number)
    return [event["subscription_count"] for request in requests for event in request.events]


def test_the_webhook_reports_each_count_once(nodes_with_webhook, receiver, connect):
    for number, server in enumerate(nodes_with_webhook * 2, 1):
        connect(server).subscribe("news")
        assert numbers_until(receiver, number) == [number]


def test_the_webhook_after_an_outage_of_redis(redis, nodes_with_webhook, receiver, connect):
    for number, server in enumerate(nodes_with_webhook, 1):
        connect(server).subscribe("news")
        numbers_until(receiver, number)
    redis.kill()
    for server in nodes_with_webhook:
        poll("the node is not ready", lambda server=server: status(server, "/ready")[0] == 503)
    new_client = connect(nodes_with_webhook[1])
    new_client.subscribe("news")
    poll("the count of this node is 2", lambda: last_count(new_client) == "#2")
    redis.start()

    assert numbers_until(receiver, 3)[-1] == 3
    assert receiver.requests.empty()
