"""Nodes that have NATS carry events, and Redis keep the rest: real processes, real servers."""

import http.client
import json
import socket
import time
from functools import partial

import pytest
from e2e_scaling import publish, status
from e2e_server import APP, AS_APP, poll
from pusher.http import POST, Request
from pusher.pusher_client import PusherClient

from nats_server import NatsServer

FOUND = 10
"""Seconds within which a node must notice that NATS does not answer."""


@pytest.fixture
def start_beside(start_node, nats):
    """Start nodes with the NATS and the Redis."""
    return partial(start_node, broker=nats.url("shop"))


@pytest.fixture
def pair(start_beside):
    return start_beside(), start_beside()


def is_ready(server):
    return status(server, "/ready")[0] == 200


def wait_for_version(server, channel, data="1"):
    """Publish; tell what the answer says of who was reached."""
    body = json.dumps({"name": "event", "channel": channel, "data": data})
    request = Request(PusherClient(*APP), POST, f"/apps/{APP.id}/events", json.loads(body))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", request.signed_path, request.body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        return response.getheader("Reverb-Reached")
    finally:
        connection.close()


def test_nodes_are_subscribed_to_what_their_clients_are(pair, connect, nats):
    one, other = pair
    for client in (connect(one), connect(other)):
        client.subscribe("news")
    connect(other).subscribe("other-news")

    subjects = [f"shop.channel.{APP.id}.{name}" for name in ("news", "other-news")]
    assert [nats.subscriptions(subject) for subject in subjects] == [2, 1]


def test_nats_is_killed_and_comes_back(nats, pair, connect):
    one, other = pair
    ann, bob = connect(one), connect(other)
    for client, name in ((ann, "ann"), (bob, "bob")):
        client.subscribe("presence-room", name)
        client.subscribe("news")
    ann.hear("+bob")
    assert wait_for_version(one, "news") is None
    for client in (ann, bob):
        client.hear(1)
    nats.kill()
    for server in pair:
        poll("not ready", lambda server=server: not is_ready(server))
        assert "NATS is not connected: " in status(server, "/ready")[1]
        assert status(server, "/up")[0] == 200
    # Clients stay; each node serves its own, and presence is still that of all nodes.
    assert wait_for_version(one, "news") == "this-node"
    ann.hear(1)
    bob.hears_nothing()
    cat = connect(other)
    assert cat.subscribe("presence-room", "cat") == {"ann", "bob", "cat"}
    cat.subscribe("late")
    for client in (ann, bob):
        client.hear("+cat")
    time.sleep(1)
    nats.start()

    for server in pair:
        poll("ready", lambda server=server: is_ready(server))
        assert server.log.count("cannot be used") == 1
    assert wait_for_version(one, "news") is None
    publish(one, "late", "late")
    for client in (ann, bob):
        client.hear(1)
        client.hears_nothing()
    cat.hear("late")
    cat.hears_nothing()


def test_counts_are_those_of_all_nodes_again_when_nats_is_back(nats, start_beside, connect):
    more = "[app_defaults]\nsubscription_counts = true"
    one, other = (start_beside(more=more) for _ in range(2))
    here, there, late = connect(one), connect(other), connect(other)
    here.subscribe("news")
    here.hear("#1")
    there.subscribe("news")
    for client in (here, there):
        client.hear("#2")
    nats.kill()
    for server in (one, other):
        poll("not ready", lambda server=server: not is_ready(server))
    late.subscribe("news")
    for client in (there, late):
        client.hear("#3")
    here.hears_nothing()
    nats.start()

    here.hear("#3")
    for client in (here, there, late):
        client.hears_nothing()


def test_watchers_know_who_is_online_again_when_nats_is_back(nats, start_beside, connect):
    more = "[app_defaults]\nwatchlists = true"
    one, other = (start_beside(more=more) for _ in range(2))
    ann, bob, cat = connect(one), connect(other), connect(other)
    ann.sign_in("ann", ["bob", "cat"])
    ann.hear("offline bob", "offline cat")
    bob.sign_in("bob")
    ann.hear("online bob")
    nats.kill()
    for server in (one, other):
        poll("not ready", lambda server=server: not is_ready(server))
    bob.socket.close()
    cat.sign_in("cat")
    nats.start()

    while len(ann.heard) < 2:
        ann.read()
    assert sorted(ann.heard) == ["offline bob", "online cat"]


def test_a_nats_that_stands_still_is_found(nats, pair, connect):
    one, other = pair
    ann, late = connect(one), connect(one)
    ann.subscribe("news")
    nats.pause()
    began = time.monotonic()
    # Who waits for its interest is answered when the node goes on alone.
    late.subscribe("new")
    assert time.monotonic() - began < FOUND
    poll("found", lambda: not is_ready(one) and not is_ready(other), FOUND)
    publish(one, "news", "here")
    ann.hear("here")
    nats.resume()
    for server in pair:
        poll("ready", lambda server=server: is_ready(server))
    for channel, client in (("news", ann), ("new", late)):
        publish(other, channel, "again")
        client.hear("again")
        client.hears_nothing()


def test_redis_is_killed_and_nats_is_not(redis, pair, connect):
    one, other = pair
    ann, bob = connect(one), connect(other)
    for client in (ann, bob):
        client.subscribe("news")
    redis.kill()
    for server in pair:
        poll("not ready", lambda server=server: not is_ready(server))
        assert "Redis is not connected" in status(server, "/ready")[1]
    publish(one, "news", "by NATS")
    for client in (ann, bob):
        client.hear("by NATS")
    assert wait_for_version(one, "news") is None
    assert wait_for_version(one, "cache-news") == "this-node"
    redis.start()
    for server in pair:
        poll("ready", lambda server=server: is_ready(server))


def test_who_publishes_what_is_larger_than_nats_takes_is_told(tmp_path, start_server, connect):
    nats = NatsServer(tmp_path, configuration="max_payload: 5000")
    try:
        options = ("--port", "0", "--broker", nats.url("shop"), *AS_APP)
        one, other = (start_server(*options, reactor="asyncio") for _ in range(2))
        for server in (one, other):
            poll("ready", lambda server=server: is_ready(server))
        ann, bob = connect(one), connect(other)
        for client in (ann, bob):
            client.subscribe("news")
        large = "x" * 6_000

        assert wait_for_version(one, "news", json.dumps(large)) == "this-node"
        assert wait_for_version(one, "news") is None
        ann.hear(large, 1)
        bob.hear(1)
        for client in (ann, bob):
            client.socket.close()
        one.check_empty()
        other.check_empty()
        one.stop()
        other.stop()
    finally:
        nats.kill()


def test_without_redis_events_cross_nodes_and_members_do_not(nats, start_server, connect):
    options = ("--port", "0", "--broker", nats.url("shop"), *AS_APP)
    one, other = (start_server(*options, reactor="asyncio") for _ in range(2))
    for server in (one, other):
        poll("ready", lambda server=server: is_ready(server))
        assert "presence, counts, limits and cached events are per node" in server.log
    ann, bob, cat = connect(one), connect(other), connect(one)
    assert ann.subscribe("presence-room", "ann") == {"ann"}
    assert bob.subscribe("presence-room", "bob") == {"bob"}
    assert cat.subscribe("presence-room", "cat") == {"ann", "cat"}
    ann.hear("+cat")
    publish(one, "presence-room", "for all")
    for client in (ann, bob, cat):
        client.hear("for all")
    cat.socket.close()
    ann.hear("-cat")
    bob.hears_nothing()


def test_a_node_starts_without_nats_and_says_so_once(nats, start_beside, connect):
    nats.kill()
    node = start_beside(ready=False)
    assert not is_ready(node)
    client = connect(node)
    client.subscribe("news")
    publish(node, "news", "local")
    client.hear("local")
    time.sleep(3)
    assert node.log.count("cannot be used") == 1
    nats.start()

    poll("ready", lambda: is_ready(node))


@pytest.mark.parametrize("who", ["bob:wrong@", "nobody:wrong@", "wrong@", ""])
def test_a_wrong_password_ends_the_start_with_one_line(tmp_path, start_server, who):
    configuration = 'authorization { user: bob, password: "right" }'
    nats = NatsServer(tmp_path, configuration=configuration)
    try:
        options = ("--port", "0", "--broker", nats.url(credentials=who), *AS_APP)
        node = start_server(*options, reactor="asyncio", wait=False)
        assert node.wait() == 1
    finally:
        nats.kill()
    lines = [line for line in node.log.splitlines() if "reverb: " in line]
    assert lines
    assert f"127.0.0.1:{nats.port} cannot be used: Authorization Violation" in lines[-1]
    assert "Traceback" not in node.log
    assert "wrong" not in node.log


def test_users_and_passwords_of_nats_are_understood(tmp_path, start_server):
    nats = NatsServer(tmp_path, configuration='authorization { user: ann, password: "p@ss/1" }')
    try:
        options = ("--port", "0", "--broker", nats.url(credentials="ann:p%40ss%2F1@"), *AS_APP)
        node = start_server(*options, reactor="asyncio")
        poll("ready", lambda: is_ready(node))
        assert "p@ss" not in node.log
        node.check_empty()
        node.stop()
    finally:
        nats.kill()


def test_nats_by_tls(tmp_path, pem, start_server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    nats = NatsServer(tmp_path, "--tls", "--tlscert", str(pem), "--tlskey", str(pem))
    try:
        for scheme in ("tls", "nats"):
            url = f"{scheme}://127.0.0.1:{nats.port}"
            node = start_server("--port", "0", "--broker", url, *AS_APP, reactor="asyncio")
            poll("ready", lambda node=node: is_ready(node))
            node.check_empty()
            node.stop()
    finally:
        nats.kill()


def test_what_is_no_nats_is_told_of(start_server):
    with socket.create_server(("127.0.0.1", 0)) as web:
        web.settimeout(20)
        url = f"nats://127.0.0.1:{web.getsockname()[1]}"
        options = ("--port", "0", "--broker", url, *AS_APP)
        node = start_server(*options, reactor="asyncio", wait=False)
        for _ in range(2):  # The check at the start, and the first connect.
            accepted, _ = web.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()
        node._wait_until_up()
        poll("told", lambda: "cannot be used" in node.log)
        assert status(node, "/ready")[0] == 503


@pytest.mark.parametrize("reactor", ["", "epoll", "poll"])
def test_another_reactor_ends_the_start_with_one_line(start_server, reactor):
    options = ("--port", "0", "--broker", "nats://127.0.0.1:1", *AS_APP)
    node = start_server(*options, reactor=reactor, wait=False)

    assert node.wait() == 1
    assert node.log.splitlines()[-1] == (
        "reverb: NATS needs Twisted's asyncio reactor: twistd --reactor asyncio -n reverb ..."
    )
    assert "Traceback" not in node.log
