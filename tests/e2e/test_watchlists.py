"""Watchlists on several nodes, and faults: real processes and a real Redis."""

import signal
import time
from functools import partial

import pytest

from tests.support.proxy import TO_NODE, TO_REDIS, Proxy

from .scaling import LEASE, Client, is_ready
from .server import Server, poll

WATCHLISTS_ENABLED = "[app_defaults]\nwatchlists = true\n"


@pytest.fixture
def start_node(start_node):
    """Start nodes with watchlists; the fixture ``nodes`` uses this one, too."""
    return partial(start_node, extra_config=WATCHLISTS_ENABLED)


@pytest.fixture
def sign_in(connect):
    def sign_in(server: Server, user_id: str, *watchlist: str) -> Client:
        """Sign a client in, and wait until it has received the state of all users it watches."""
        client = connect(server)
        client.sign_in(user_id, list(watchlist))
        while len(client.received) < len(watchlist):
            client.read()
        return client

    return sign_in


def test_a_user_is_online_with_a_connection_on_any_node(nodes, sign_in):
    one, other = nodes
    listeners = [sign_in(server, "ann", "bob", "cat") for server in nodes]
    for listener in listeners:
        listener.assert_received("offline bob", "offline cat")
    bobs = [sign_in(server, "bob") for server in nodes]
    for listener in listeners:
        listener.assert_received("online bob")
    bobs[1].socket.close()
    sign_in(one, "cat")
    for listener in listeners:
        listener.assert_received("online cat")
    late = sign_in(other, "dan", "bob", "ann", "zoe")
    late.assert_received("online bob", "online ann", "offline zoe")
    bobs[0].socket.close()
    for listener in (*listeners, late):
        listener.assert_received("offline bob")
        listener.assert_nothing_received()
    for server in nodes:
        assert server.api_get("/channels") == {"channels": {}}


def test_users_of_a_node_that_is_killed_go_offline_once(start_node, sign_in):
    survivors, victim = [start_node(), start_node()], start_node()
    listeners = [sign_in(server, "watcher", "ann", "bob", "cat") for server in survivors]
    for listener in listeners:
        listener.assert_received("offline ann", "offline bob", "offline cat")
    for user_id in ("ann", "ann", "bob", "cat"):
        sign_in(victim, user_id, "watcher").assert_received("online watcher")
    for listener in listeners:
        while len(listener.received) < 3:
            listener.read()
        listener.assert_received("online ann", "online bob", "online cat")
    remaining = sign_in(survivors[0], "bob")
    remaining.catch_up()
    victim.kill()

    for listener in listeners:
        while len(listener.received) < 2:
            listener.read()
        assert sorted(listener.received) == ["offline ann", "offline cat"]
        listener.received.clear()
    time.sleep(LEASE)
    for listener in listeners:
        listener.assert_nothing_received()


def test_users_of_a_stopped_node_go_offline(start_node, sign_in):
    one, other = start_node(), start_node()
    ann = sign_in(one, "ann", "bob")
    bob = sign_in(other, "bob")
    ann.assert_received("offline bob", "online bob")
    other.terminate()
    bob.read_until("pusher:error")
    bob.socket.close()

    ann.assert_received("offline bob")
    other.wait()


def test_a_node_paused_for_longer_than_its_lease_rejoins(nodes, sign_in):
    one, other = nodes
    ann, cat = sign_in(one, "ann", "bob"), sign_in(one, "cat")
    bob = sign_in(other, "bob", "ann", "cat", "dan")
    ann.assert_received("offline bob", "online bob")
    bob.assert_received("online ann", "online cat", "offline dan")
    other.process.send_signal(signal.SIGSTOP)
    try:
        ann.assert_received("offline bob")
        cat.socket.close()
        sign_in(one, "dan")
    finally:
        other.process.send_signal(signal.SIGCONT)

    ann.assert_received("online bob")
    while len(bob.received) < 2:
        bob.read()
    assert sorted(bob.received) == ["offline cat", "online dan"]
    ann.assert_nothing_received()


def test_redis_is_killed_and_restarts_empty(redis, nodes, sign_in):
    one, other = nodes
    ann = sign_in(one, "ann", "bob", "cat", "dan", "eve")
    ann.assert_received("offline bob", "offline cat", "offline dan", "offline eve")
    sign_in(other, "bob")
    cat = sign_in(other, "cat")
    eve = sign_in(one, "eve")
    while len(ann.received) < 3:
        ann.read()
    ann.received.clear()
    redis.kill()
    for server in nodes:
        poll("the node is not ready", lambda server=server: not is_ready(server))
    # Changes of users on the same node are reported; users on other nodes keep their last state.
    eve.socket.close()
    ann.assert_received("offline eve")
    late = sign_in(one, "fay", "bob", "cat", "eve")
    late.assert_received("online bob", "online cat", "offline eve")
    cat.socket.close()
    sign_in(other, "dan")
    ann.assert_nothing_received()
    redis.start()

    for server in nodes:
        poll("the node is ready", lambda server=server: is_ready(server))
    while len(ann.received) < 2:
        ann.read()
    assert sorted(ann.received) == ["offline cat", "online dan"]
    ann.received.clear()
    late.assert_received("offline cat")
    sign_in(other, "eve")
    ann.assert_received("online eve")
    late.assert_received("online eve")
    for listener in (ann, late):
        listener.assert_nothing_received()


def test_users_come_online_and_go_offline_while_a_node_is_isolated(redis, start_node, sign_in):
    proxy = Proxy(redis.port)
    try:
        one, isolated = start_node(), start_node(redis_url=proxy.url("shop"))
        ann, eve = sign_in(one, "ann", "bob", "cat", "dan"), sign_in(one, "eve")
        bob = sign_in(isolated, "bob")
        dan = sign_in(isolated, "dan", "ann", "eve", "cat")
        while len(ann.received) < 5:
            ann.read()
        ann.assert_received("offline bob", "offline cat", "offline dan", "online bob", "online dan")
        dan.assert_received("online ann", "online eve", "offline cat")
        proxy.lose(TO_REDIS, TO_NODE)
        # The other nodes report its users as offline before it detects the fault itself.
        while len(ann.received) < 2:
            ann.read()
        assert sorted(ann.received) == ["offline bob", "offline dan"]
        ann.received.clear()
        bob.socket.close()
        poll("the node is not ready", lambda: not is_ready(isolated))
        eve.socket.close()
        sign_in(isolated, "cat")
        dan.assert_received("online cat")
        dan.assert_nothing_received()
        proxy.restore()

        while len(ann.received) < 2:
            ann.read()
        assert sorted(ann.received) == ["online cat", "online dan"]
        ann.received.clear()
        dan.assert_received("offline eve")
        for client in (ann, dan):
            client.assert_nothing_received()
    finally:
        proxy.stop()
