"""Nodes with NATS as their broker and Redis as their store: real processes, real servers."""

import http.client
import json
import socket
import time
from functools import partial

import pytest
from pusher.http import POST, Request
from pusher.pusher_client import PusherClient

from tests.support.nats_server import NatsServer

from .scaling import is_ready, publish, status
from .server import APP, APP_OPTIONS, poll

DETECTION_TIMEOUT = 10
"""Seconds within which a node must detect that NATS does not answer."""


@pytest.fixture
def start_nats_node(start_node, nats):
    """Start nodes that use both NATS and Redis."""
    return partial(start_node, broker=nats.url("shop"))


@pytest.fixture
def pair(start_nats_node):
    return start_nats_node(), start_nats_node()


def publish_and_get_reach(server, channel, data="1"):
    """Publish over the HTTP API; return the ``Reverb-Reached`` header of the response."""
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


def test_nodes_subscribe_to_the_channels_of_their_clients(pair, connect, nats):
    one, other = pair
    for client in (connect(one), connect(other)):
        client.subscribe("news")
    connect(other).subscribe("other-news")

    subjects = [f"shop.channel.{APP.id}.{name}" for name in ("news", "other-news")]
    assert [nats.subscriptions(subject) for subject in subjects] == [2, 1]


def test_nats_is_killed_and_restarts(nats, pair, connect):
    one, other = pair
    ann, bob = connect(one), connect(other)
    for client, name in ((ann, "ann"), (bob, "bob")):
        client.subscribe("presence-room", name)
        client.subscribe("news")
    ann.assert_received("+bob")
    assert publish_and_get_reach(one, "news") is None
    for client in (ann, bob):
        client.assert_received(1)
    nats.kill()
    for server in pair:
        poll("the node is not ready", lambda server=server: not is_ready(server))
        assert "NATS is not connected: " in status(server, "/ready")[1]
        assert status(server, "/up")[0] == 200
    # Clients stay connected. Events reach only the same node; presence still includes all nodes.
    assert publish_and_get_reach(one, "news") == "this-node"
    ann.assert_received(1)
    bob.assert_nothing_received()
    cat = connect(other)
    assert cat.subscribe("presence-room", "cat") == {"ann", "bob", "cat"}
    cat.subscribe("late")
    for client in (ann, bob):
        client.assert_received("+cat")
    time.sleep(1)
    nats.start()

    for server in pair:
        poll("the node is ready", lambda server=server: is_ready(server))
        assert server.log.count("cannot be used") == 1
    assert publish_and_get_reach(one, "news") is None
    publish(one, "late", "late")
    for client in (ann, bob):
        client.assert_received(1)
        client.assert_nothing_received()
    cat.assert_received("late")
    cat.assert_nothing_received()


def test_counts_include_all_nodes_again_after_nats_restarts(nats, start_nats_node, connect):
    extra_config = "[app_defaults]\nsubscription_counts = true"
    one, other = (start_nats_node(extra_config=extra_config) for _ in range(2))
    here, there, late = connect(one), connect(other), connect(other)
    here.subscribe("news")
    here.assert_received("#1")
    there.subscribe("news")
    for client in (here, there):
        client.assert_received("#2")
    nats.kill()
    for server in (one, other):
        poll("the node is not ready", lambda server=server: not is_ready(server))
    late.subscribe("news")
    for client in (there, late):
        client.assert_received("#3")
    here.assert_nothing_received()
    nats.start()

    here.assert_received("#3")
    for client in (here, there, late):
        client.assert_nothing_received()


def test_watchlists_are_corrected_after_nats_restarts(nats, start_nats_node, connect):
    extra_config = "[app_defaults]\nwatchlists = true"
    one, other = (start_nats_node(extra_config=extra_config) for _ in range(2))
    ann, bob, cat = connect(one), connect(other), connect(other)
    ann.sign_in("ann", ["bob", "cat"])
    ann.assert_received("offline bob", "offline cat")
    bob.sign_in("bob")
    ann.assert_received("online bob")
    nats.kill()
    for server in (one, other):
        poll("the node is not ready", lambda server=server: not is_ready(server))
    bob.socket.close()
    cat.sign_in("cat")
    nats.start()

    while len(ann.received) < 2:
        ann.read()
    assert sorted(ann.received) == ["offline bob", "online cat"]


def test_a_paused_nats_is_detected(nats, pair, connect):
    one, other = pair
    ann, late = connect(one), connect(one)
    ann.subscribe("news")
    nats.pause()
    began = time.monotonic()
    # A subscription that waits for NATS is confirmed when the node enters degraded mode.
    late.subscribe("new")
    assert time.monotonic() - began < DETECTION_TIMEOUT
    poll("no node is ready", lambda: not is_ready(one) and not is_ready(other), DETECTION_TIMEOUT)
    publish(one, "news", "here")
    ann.assert_received("here")
    nats.resume()
    for server in pair:
        poll("the node is ready", lambda server=server: is_ready(server))
    for channel, client in (("news", ann), ("new", late)):
        publish(other, channel, "again")
        client.assert_received("again")
        client.assert_nothing_received()


def test_redis_is_killed_but_nats_is_not(redis, pair, connect):
    one, other = pair
    ann, bob = connect(one), connect(other)
    for client in (ann, bob):
        client.subscribe("news")
    redis.kill()
    for server in pair:
        poll("the node is not ready", lambda server=server: not is_ready(server))
        assert "Redis is not connected" in status(server, "/ready")[1]
    publish(one, "news", "by NATS")
    for client in (ann, bob):
        client.assert_received("by NATS")
    assert publish_and_get_reach(one, "news") is None
    assert publish_and_get_reach(one, "cache-news") == "this-node"
    redis.start()
    for server in pair:
        poll("the node is ready", lambda server=server: is_ready(server))


def test_the_response_reports_an_event_too_large_for_nats(tmp_path, start_server, connect):
    nats = NatsServer(tmp_path, configuration="max_payload: 5000")
    try:
        options = ("--port", "0", "--broker", nats.url("shop"), *APP_OPTIONS)
        one, other = (start_server(*options, reactor="asyncio") for _ in range(2))
        for server in (one, other):
            poll("the node is ready", lambda server=server: is_ready(server))
        ann, bob = connect(one), connect(other)
        for client in (ann, bob):
            client.subscribe("news")
        large = "x" * 6_000

        assert publish_and_get_reach(one, "news", json.dumps(large)) == "this-node"
        assert publish_and_get_reach(one, "news") is None
        ann.assert_received(large, 1)
        bob.assert_received(1)
        for client in (ann, bob):
            client.socket.close()
        one.check_empty()
        other.check_empty()
        one.stop()
        other.stop()
    finally:
        nats.kill()


def test_without_redis_nodes_share_events_but_not_members(nats, start_server, connect):
    options = ("--port", "0", "--broker", nats.url("shop"), *APP_OPTIONS)
    one, other = (start_server(*options, reactor="asyncio") for _ in range(2))
    for server in (one, other):
        poll("the node is ready", lambda server=server: is_ready(server))
        assert "presence, counts, limits and cached events are per node" in server.log
    ann, bob, cat = connect(one), connect(other), connect(one)
    assert ann.subscribe("presence-room", "ann") == {"ann"}
    assert bob.subscribe("presence-room", "bob") == {"bob"}
    assert cat.subscribe("presence-room", "cat") == {"ann", "cat"}
    ann.assert_received("+cat")
    publish(one, "presence-room", "for all")
    for client in (ann, bob, cat):
        client.assert_received("for all")
    cat.socket.close()
    ann.assert_received("-cat")
    bob.assert_nothing_received()


def test_a_node_starts_without_nats_and_logs_it_once(nats, start_nats_node, connect):
    nats.kill()
    node = start_nats_node(wait=False)
    assert not is_ready(node)
    client = connect(node)
    client.subscribe("news")
    publish(node, "news", "local")
    client.assert_received("local")
    time.sleep(3)
    assert node.log.count("cannot be used") == 1
    nats.start()

    poll("the node is ready", lambda: is_ready(node))


@pytest.mark.parametrize("credentials", ["bob:wrong@", "nobody:wrong@", "wrong@", ""])
def test_a_wrong_password_ends_the_start_with_one_line(tmp_path, start_server, credentials):
    configuration = 'authorization { user: bob, password: "right" }'
    nats = NatsServer(tmp_path, configuration=configuration)
    try:
        options = ("--port", "0", "--broker", nats.url(credentials=credentials), *APP_OPTIONS)
        node = start_server(*options, reactor="asyncio", wait=False)
        assert node.wait() == 1
    finally:
        nats.kill()
    lines = [line for line in node.log.splitlines() if "reverb: " in line]
    assert lines
    assert f"127.0.0.1:{nats.port} cannot be used: Authorization Violation" in lines[-1]
    assert "Traceback" not in node.log
    assert "wrong" not in node.log


def test_a_node_authenticates_to_nats(tmp_path, start_server):
    nats = NatsServer(tmp_path, configuration='authorization { user: ann, password: "p@ss/1" }')
    try:
        options = ("--port", "0", "--broker", nats.url(credentials="ann:p%40ss%2F1@"), *APP_OPTIONS)
        node = start_server(*options, reactor="asyncio")
        poll("the node is ready", lambda: is_ready(node))
        assert "p@ss" not in node.log
        node.check_empty()
        node.stop()
    finally:
        nats.kill()


def test_nats_over_tls(tmp_path, pem, start_server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    nats = NatsServer(tmp_path, "--tls", "--tlscert", str(pem), "--tlskey", str(pem))
    try:
        for scheme in ("tls", "nats"):
            url = f"{scheme}://127.0.0.1:{nats.port}"
            node = start_server("--port", "0", "--broker", url, *APP_OPTIONS, reactor="asyncio")
            poll("the node is ready", lambda node=node: is_ready(node))
            node.check_empty()
            node.stop()
    finally:
        nats.kill()


def test_a_server_that_is_not_nats_is_logged(start_server):
    with socket.create_server(("127.0.0.1", 0)) as web:
        web.settimeout(20)
        url = f"nats://127.0.0.1:{web.getsockname()[1]}"
        options = ("--port", "0", "--broker", url, *APP_OPTIONS)
        node = start_server(*options, reactor="asyncio", wait=False)
        for _ in range(2):  # The preflight check, and the first connection.
            accepted, _ = web.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()
        node.wait_until_up()
        poll("the error is logged", lambda: "cannot be used" in node.log)
        assert status(node, "/ready")[0] == 503


@pytest.mark.parametrize("reactor", ["", "epoll", "poll"])
def test_another_reactor_ends_the_start_with_one_line(start_server, reactor):
    options = ("--port", "0", "--broker", "nats://127.0.0.1:1", *APP_OPTIONS)
    node = start_server(*options, reactor=reactor, wait=False)

    assert node.wait() == 1
    assert node.log.splitlines()[-1] == (
        "reverb: NATS needs Twisted's asyncio reactor: twistd --reactor asyncio -n reverb ..."
    )
    assert "Traceback" not in node.log
