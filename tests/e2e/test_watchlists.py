"""Watchlists over several nodes: real processes, a real Redis, and what befalls them."""

import signal
import time
from functools import partial

import pytest
from e2e_scaling import LEASE, Client, status
from e2e_server import Server, poll

from redis_proxy import TO_NODE, TO_REDIS, Proxy

WATCHING = "[app_defaults]\nwatchlists = true\n"


@pytest.fixture
def start_node(start_node):
    """Start nodes with watchlists; ``nodes`` does so by this too."""
    return partial(start_node, more=WATCHING)


def is_ready(server: Server) -> bool:
    return status(server, "/ready")[0] == 200


@pytest.fixture
def sign_in(connect):
    def sign_in(server: Server, user_id: str, *watchlist: str) -> Client:
        """Sign a client in, and wait until it has been told of all whom it watches."""
        client = connect(server)
        client.sign_in(user_id, list(watchlist))
        while len(client.heard) < len(watchlist):
            client.read()
        return client

    return sign_in


def test_a_user_is_online_who_has_a_connection_anywhere(nodes, sign_in):
    one, other = nodes
    listeners = [sign_in(server, "ann", "bob", "cat") for server in nodes]
    for listener in listeners:
        listener.hear("offline bob", "offline cat")
    bobs = [sign_in(server, "bob") for server in nodes]
    for listener in listeners:
        listener.hear("online bob")
    bobs[1].socket.close()
    sign_in(one, "cat")
    for listener in listeners:
        listener.hear("online cat")
    late = sign_in(other, "dan", "bob", "ann", "zoe")
    late.hear("online bob", "online ann", "offline zoe")
    bobs[0].socket.close()
    for listener in (*listeners, late):
        listener.hear("offline bob")
        listener.hears_nothing()
    for server in nodes:
        assert server.ask("/channels") == {"channels": {}}


def test_users_of_a_node_that_is_killed_go_offline_once(start_node, sign_in):
    survivors, doomed = [start_node(), start_node()], start_node()
    listeners = [sign_in(server, "watcher", "ann", "bob", "cat") for server in survivors]
    for listener in listeners:
        listener.hear("offline ann", "offline bob", "offline cat")
    for user_id in ("ann", "ann", "bob", "cat"):
        sign_in(doomed, user_id, "watcher").hear("online watcher")
    for listener in listeners:
        while len(listener.heard) < 3:
            listener.read()
        listener.hear("online ann", "online bob", "online cat")
    stays = sign_in(survivors[0], "bob")
    stays.catch_up()
    doomed.kill()

    for listener in listeners:
        while len(listener.heard) < 2:
            listener.read()
        assert sorted(listener.heard) == ["offline ann", "offline cat"]
        listener.heard.clear()
    time.sleep(LEASE)
    for listener in listeners:
        listener.hears_nothing()


def test_a_node_that_stops_takes_its_users_with_it(start_node, sign_in):
    one, other = start_node(), start_node()
    ann = sign_in(one, "ann", "bob")
    bob = sign_in(other, "bob")
    ann.hear("offline bob", "online bob")
    other.terminate()
    bob.read_until("pusher:error")
    bob.socket.close()

    ann.hear("offline bob")


def test_a_node_that_was_paused_past_its_lease_comes_back(nodes, sign_in):
    one, other = nodes
    ann, cat = sign_in(one, "ann", "bob"), sign_in(one, "cat")
    bob = sign_in(other, "bob", "ann", "cat", "dan")
    ann.hear("offline bob", "online bob")
    bob.hear("online ann", "online cat", "offline dan")
    other.process.send_signal(signal.SIGSTOP)
    try:
        ann.hear("offline bob")
        cat.socket.close()
        sign_in(one, "dan")
    finally:
        other.process.send_signal(signal.SIGCONT)

    ann.hear("online bob")
    while len(bob.heard) < 2:
        bob.read()
    assert sorted(bob.heard) == ["offline cat", "online dan"]
    ann.hears_nothing()


def test_redis_is_killed_and_comes_back_empty(redis, nodes, sign_in):
    one, other = nodes
    ann = sign_in(one, "ann", "bob", "cat", "dan", "eve")
    ann.hear("offline bob", "offline cat", "offline dan", "offline eve")
    sign_in(other, "bob")
    cat = sign_in(other, "cat")
    eve = sign_in(one, "eve")
    while len(ann.heard) < 3:
        ann.read()
    ann.heard.clear()
    redis.kill()
    for server in nodes:
        poll("not ready", lambda server=server: not is_ready(server))
    # Users of the same node come and go; the others stay what they were.
    eve.socket.close()
    ann.hear("offline eve")
    late = sign_in(one, "fay", "bob", "cat", "eve")
    late.hear("online bob", "online cat", "offline eve")
    cat.socket.close()
    sign_in(other, "dan")
    ann.hears_nothing()
    redis.start()

    for server in nodes:
        poll("ready", lambda server=server: is_ready(server))
    while len(ann.heard) < 2:
        ann.read()
    assert sorted(ann.heard) == ["offline cat", "online dan"]
    ann.heard.clear()
    late.hear("offline cat")
    sign_in(other, "eve")
    ann.hear("online eve")
    late.hear("online eve")
    for listener in (ann, late):
        listener.hears_nothing()


def test_a_node_is_cut_off_while_users_come_and_go(redis, start_node, sign_in):
    proxy = Proxy(redis.port)
    try:
        one, lonely = start_node(), start_node(url=proxy.url("shop"))
        ann, eve = sign_in(one, "ann", "bob", "cat", "dan"), sign_in(one, "eve")
        bob = sign_in(lonely, "bob")
        dan = sign_in(lonely, "dan", "ann", "eve", "cat")
        while len(ann.heard) < 5:
            ann.read()
        ann.hear("offline bob", "offline cat", "offline dan", "online bob", "online dan")
        dan.hear("online ann", "online eve", "offline cat")
        proxy.lose(TO_REDIS, TO_NODE)
        # The other nodes take those who are on it for gone, and it does not know yet.
        while len(ann.heard) < 2:
            ann.read()
        assert sorted(ann.heard) == ["offline bob", "offline dan"]
        ann.heard.clear()
        bob.socket.close()
        poll("found", lambda: not is_ready(lonely))
        eve.socket.close()
        sign_in(lonely, "cat")
        dan.hear("online cat")
        dan.hears_nothing()
        proxy.restore()

        while len(ann.heard) < 2:
            ann.read()
        assert sorted(ann.heard) == ["online cat", "online dan"]
        ann.heard.clear()
        dan.hear("offline eve")
        for client in (ann, dan):
            client.hears_nothing()
    finally:
        proxy.stop()
