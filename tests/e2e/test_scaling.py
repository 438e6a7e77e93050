"""Nodes that share a Redis, and faults of both: real processes and a real Redis."""

import json
import signal
import socket
import time

import pytest

from tests.support.ports import reserve_port
from tests.support.redis_server import RedisServer

from .scaling import is_ready, publish, status, users
from .server import APP_OPTIONS, poll


def test_a_node_paused_for_longer_than_its_lease_rejoins(nodes, connect):
    one, other = nodes
    ann, bob = connect(one), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    ann.assert_received("+bob")
    other.process.send_signal(signal.SIGSTOP)
    try:
        ann.assert_received("-bob")
        assert one.api_get("/connections") == {"connections": 1}
    finally:
        other.process.send_signal(signal.SIGCONT)

    ann.assert_received("+bob")
    poll("2 connections", lambda: one.api_get("/connections") == {"connections": 2})
    assert [users(server) for server in nodes] == [{"ann", "bob"}] * 2
    late = connect(other)
    assert late.subscribe("presence-room", "cat") == {"ann", "bob", "cat"}
    ann.assert_received("+cat")
    poll("cat joined", lambda: bob.catch_up() or bob.received[-1:] == ["+cat"])
    members = {"ann", "bob"}
    for change in bob.received:
        (members.add if change[0] == "+" else members.remove)(change[1:])
    assert members == {"ann", "bob", "cat"}


def test_redis_is_killed_and_restarts_empty(redis, nodes, connect):
    one, other = nodes
    ann, bob, cat = connect(one), connect(other), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    cat.subscribe("presence-room", "cat")
    ann.assert_received("+bob", "+cat")
    bob.assert_received("+cat")
    redis.kill()
    for server in nodes:
        poll("the node is not ready", lambda server=server: status(server, "/ready")[0] == 503)
        assert "Redis is not connected" in status(server, "/ready")[1]
        assert status(server, "/up")[0] == 200
    # Clients stay connected, and each node keeps serving its own clients in degraded mode.
    publish(one, "presence-room", "local")
    ann.assert_received("local")
    bob.assert_nothing_received()
    dan = connect(one)
    assert dan.subscribe("presence-room", "dan") == {"ann", "bob", "cat", "dan"}
    ann.assert_received("+dan")
    cat.socket.close()
    bob.assert_received("-cat")
    assert one.api_get("/channels") == {"channels": {"presence-room": {}}}
    time.sleep(1)
    redis.start()
    restarted = time.monotonic()

    ann.assert_received("-cat")
    bob.assert_received("+dan")
    assert time.monotonic() - restarted < 5
    for server in nodes:
        poll("the node is ready", lambda server=server: is_ready(server))
        assert users(server) == {"ann", "bob", "dan"}
        assert server.api_get("/connections") == {"connections": 3}
    publish(one, "presence-room", "for all")
    for client in (ann, bob):
        client.assert_received("for all")
    dan.assert_received("-cat", "for all")
    for client in (ann, bob, dan):
        client.assert_nothing_received()


def test_a_node_starts_without_redis_and_logs_it_once(redis, start_node, connect):
    redis.kill()
    node = start_node(wait=False)
    assert status(node, "/ready")[0] == 503
    client = connect(node)
    assert client.subscribe("presence-room", "ann") == {"ann"}
    publish(node, "presence-room", "local")
    client.assert_received("local")
    time.sleep(3)
    assert node.log.count("cannot be used") == 1
    redis.start()

    poll("the node is ready", lambda: is_ready(node))
    assert users(node) == {"ann"}
    client.assert_nothing_received()


@pytest.mark.parametrize(
    ("credentials", "error"),
    [
        (":wrong@", "WRONGPASS"),
        ("nobody:wrong@", "WRONGPASS"),
        ("", "NOAUTH"),
    ],
)
def test_a_wrong_password_ends_the_start_with_one_line(tmp_path, start_server, credentials, error):
    redis = RedisServer(tmp_path, "--requirepass", "right")
    try:
        node = start_server(
            "--port", "0", "--redis", redis.url(credentials=credentials), *APP_OPTIONS, wait=False
        )
        assert node.wait() == 1
    finally:
        redis.kill()
    lines = [line for line in node.log.splitlines() if "reverb: " in line]
    assert lines
    assert f"127.0.0.1:{redis.port}/0 cannot be used: {error}" in lines[-1]
    assert "Traceback" not in node.log
    assert "wrong" not in node.log


def test_a_node_authenticates_to_redis(tmp_path, start_server):
    redis = RedisServer(
        tmp_path, "--requirepass", "right", "--user", *["ann", "on", ">p@ss/1", "~*", "&*", "+@all"]
    )
    try:
        urls = [redis.url(credentials=":right@"), redis.url(credentials="ann:p%40ss%2F1@")]
        for url in urls:
            node = start_server("--port", "0", "--redis", url, *APP_OPTIONS)
            poll("the node is ready", lambda node=node: is_ready(node))
            assert "p@ss" not in node.log
            node.check_empty()
            node.stop()
    finally:
        redis.kill()


def test_an_unknown_redis_database_ends_the_start(redis, start_server):
    url = f"redis://127.0.0.1:{redis.port}/99"
    node = start_server("--port", "0", "--redis", url, *APP_OPTIONS, wait=False)

    assert node.wait() == 1
    assert "cannot be used: ERR DB index is out of range" in node.log


@pytest.mark.parametrize("scheme", ["rediss", "unix"])
def test_redis_over_tls_and_over_a_unix_socket(scheme, tmp_path, pem, start_server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    port = reserve_port()
    arguments = {
        "rediss": f"--tls-port {port} --tls-cert-file {pem} --tls-key-file {pem}"
        f" --tls-ca-cert-file {pem} --tls-auth-clients no",
        "unix": f"--unixsocket {tmp_path}/redis.sock",
    }
    urls = {"rediss": f"rediss://127.0.0.1:{port}/1", "unix": f"unix://{tmp_path}/redis.sock?db=1"}
    redis = RedisServer(tmp_path, *arguments[scheme].split())
    try:
        node = start_server("--port", "0", "--redis", urls[scheme], *APP_OPTIONS)
        poll("the node is ready", lambda: is_ready(node))
        node.check_empty()
        node.stop()
    finally:
        redis.kill()


def test_a_server_that_is_not_redis_is_logged(start_server):
    with socket.create_server(("127.0.0.1", 0)) as web:
        web.settimeout(20)
        url = f"redis://127.0.0.1:{web.getsockname()[1]}"
        node = start_server("--port", "0", "--redis", url, *APP_OPTIONS, wait=False)
        for _ in range(2):  # The preflight check, and the first connection.
            accepted, _ = web.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()
        node.wait_until_up()
        poll("the error is logged", lambda: "cannot be used" in node.log)
        assert status(node, "/ready")[0] == 503
        assert json.loads(status(node, "/up")[1]) == {"health": "OK"}
