"""Subscribers are told how many they are, by one node and by several: pusher-js, real Redis."""

import pytest
from e2e_node import Clients
from e2e_scaling import publish, status
from e2e_server import APP, AS_APP, poll
from e2e_webhooks import NodeSdk, Receiver

WANTED = "[app_defaults]\nsubscription_counts = true\n"


@pytest.fixture
def counting(start_node):
    """Two nodes that count."""
    return [start_node(more=WANTED) for _ in range(2)]


def last_count(client):
    """Read all there is; get the count that came last."""
    client.catch_up()
    return client.heard[-1] if client.heard else None


def test_pusher_js_is_told(start_server, clients: Clients, tmp_path):
    config = tmp_path / "reverb.toml"
    config.write_text(WANTED)
    server = start_server("--port", "0", "--config", str(config), *AS_APP)
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    alice.subscribe("private-room")
    assert alice.next("private-room") == ["pusher:subscription_count", {"subscription_count": 1}]
    bob.subscribe("private-room")
    for client in (alice, bob):
        told = client.next("private-room")
        assert told == ["pusher:subscription_count", {"subscription_count": 2}]
        assert client.do("subscription_count", channel="private-room") == 2
    bob.do("unsubscribe", channel="private-room")

    assert alice.next("private-room") == ["pusher:subscription_count", {"subscription_count": 1}]
    assert alice.do("subscription_count", channel="private-room") == 1
    alice.subscribe("presence-room")
    with server.sdk_session() as sdk:
        sdk.trigger("presence-room", "after", "it")
    assert alice.next("presence-room") == ["after", "it"]


def test_counts_are_those_of_all_nodes(counting, connect):
    here, there = (connect(server) for server in counting)
    here.subscribe("news")
    here.hear("#1")
    there.subscribe("news")
    for client in (here, there):
        client.hear("#2")
    another = connect(counting[1])
    another.subscribe("news")
    for client in (here, there, another):
        client.hear("#3")
    another.socket.close()
    there.unsubscribe("news")
    poll("told", lambda: last_count(here) == "#1")
    there.catch_up()
    assert "#1" not in there.heard


def test_the_count_after_a_node_is_killed(start_node, connect):
    survivor, other, doomed = (start_node(more=WANTED) for _ in range(3))
    here, there = connect(survivor), connect(other)
    for client in (here, there):
        client.subscribe("news")
    for _ in range(3):
        connect(doomed).subscribe("news")
    for client in (here, there):
        poll("told", lambda client=client: last_count(client) == "#5")
        client.heard.clear()
    doomed.kill()

    for client in (here, there):
        client.hear("#2")
        client.hears_nothing()


def test_the_count_after_a_node_is_stopped(counting, connect):
    stays = connect(counting[0])
    stays.subscribe("news")
    for _ in range(20):
        connect(counting[1]).subscribe("news")
    poll("told", lambda: last_count(stays) == "#21")
    counting[1].terminate()
    assert counting[1].wait() is not None

    poll("told", lambda: last_count(stays) == "#1")


def test_the_count_after_redis_was_away(redis, counting, connect):
    here, there, gone = connect(counting[0]), connect(counting[1]), connect(counting[1])
    for client in (here, there, gone):
        client.subscribe("news")
    for client in (here, there):
        poll("told", lambda client=client: last_count(client) == "#3")
    redis.kill()
    for server in counting:
        poll("not ready", lambda server=server: status(server, "/ready")[0] == 503)
    gone.socket.close()
    newcomers = [connect(counting[0]) for _ in range(3)]
    for client in newcomers:
        client.subscribe("news")
    poll("told of this node", lambda: last_count(here) == "#4")
    redis.start()

    for client in (here, there, *newcomers):
        poll("told", lambda client=client: last_count(client) == "#5")
    publish(counting[0], "news", "still")
    poll("delivered", lambda: last_count(there) == "still")


@pytest.fixture
def receiver():
    sdk = NodeSdk()
    running = Receiver(sdk)
    yield running
    running.close()
    sdk.close()
    assert running.problems == []


@pytest.fixture
def hooked(redis, start_node, receiver):  # Redis is there until the nodes have stopped.
    """Two nodes that count, for an endpoint too."""
    app = f'[[apps]]\nid = "{APP.id}"\nkey = "{APP.key}"\nsecret = "{APP.secret}"\n'
    hook = f'[[apps.webhooks]]\nurl = "{receiver.url("/")}"\nevents = ["subscription_count"]\n'
    return [start_node(more=WANTED + app + hook) for _ in range(2)]


def numbers_until(receiver, number):
    """Take what the endpoint is told of the channel, up to a number."""
    taken = receiver.until(lambda event: event["subscription_count"] == number)
    return [event["subscription_count"] for request in taken for event in request.events]


def test_the_webhook_is_told_once(hooked, receiver, connect):
    for number, server in enumerate(hooked * 2, 1):
        connect(server).subscribe("news")
        assert numbers_until(receiver, number) == [number]


def test_the_webhook_after_redis_was_away(redis, hooked, receiver, connect):
    for number, server in enumerate(hooked, 1):
        connect(server).subscribe("news")
        numbers_until(receiver, number)
    redis.kill()
    for server in hooked:
        poll("not ready", lambda server=server: status(server, "/ready")[0] == 503)
    newcomer = connect(hooked[1])
    newcomer.subscribe("news")
    poll("told of this node", lambda: last_count(newcomer) == "#2")
    redis.start()

    assert numbers_until(receiver, 3)[-1] == 3
    assert receiver.requests.empty()
