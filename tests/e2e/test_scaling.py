"""Nodes that share a Redis behave as one: real processes, a real Redis, and what befalls them."""

import json
import signal
import socket
import time

import pytest
from e2e_scaling import publish, status, users
from e2e_server import AS_APP, poll

from ports import reserve_port
from redis_server import RedisServer


def test_a_node_that_was_paused_past_its_lease_comes_back(nodes, connect):
    one, other = nodes
    ann, bob = connect(one), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    ann.hear("+bob")
    other.process.send_signal(signal.SIGSTOP)
    try:
        ann.hear("-bob")
        assert one.ask("/connections") == {"connections": 1}
    finally:
        other.process.send_signal(signal.SIGCONT)

    ann.hear("+bob")
    poll("counted", lambda: one.ask("/connections") == {"connections": 2})
    assert [users(server) for server in nodes] == [{"ann", "bob"}] * 2
    late = connect(other)
    assert late.subscribe("presence-room", "cat") == {"ann", "bob", "cat"}
    ann.hear("+cat")
    poll("told", lambda: bob.catch_up() or bob.heard[-1:] == ["+cat"])
    members = {"ann", "bob"}
    for heard in bob.heard:
        (members.add if heard[0] == "+" else members.remove)(heard[1:])
    assert members == {"ann", "bob", "cat"}


def test_redis_is_killed_and_comes_back_empty(redis, nodes, connect):
    one, other = nodes
    ann, bob, cat = connect(one), connect(other), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    cat.subscribe("presence-room", "cat")
    ann.hear("+bob", "+cat")
    bob.hear("+cat")
    redis.kill()
    for server in nodes:
        poll("not ready", lambda server=server: status(server, "/ready")[0] == 503)
        assert "Redis is not connected" in status(server, "/ready")[1]
        assert status(server, "/up")[0] == 200
    # Clients stay, and what a node can do alone goes on.
    publish(one, "presence-room", "local")
    ann.hear("local")
    bob.hears_nothing()
    dan = connect(one)
    assert dan.subscribe("presence-room", "dan") == {"ann", "bob", "cat", "dan"}
    ann.hear("+dan")
    cat.socket.close()
    bob.hear("-cat")
    assert one.ask("/channels") == {"channels": {"presence-room": {}}}
    time.sleep(1)
    redis.start()
    back = time.monotonic()

    ann.hear("-cat")
    bob.hear("+dan")
    assert time.monotonic() - back < 5
    for server in nodes:
        poll("ready", lambda server=server: status(server, "/ready")[0] == 200)
        assert users(server) == {"ann", "bob", "dan"}
        assert server.ask("/connections") == {"connections": 3}
    publish(one, "presence-room", "for all")
    for client in (ann, bob):
        client.hear("for all")
    dan.hear("-cat", "for all")
    for client in (ann, bob, dan):
        client.hears_nothing()


def test_a_node_starts_without_redis_and_says_so_once(redis, start_node, connect):
    redis.kill()
    node = start_node(ready=False)
    assert status(node, "/ready")[0] == 503
    client = connect(node)
    assert client.subscribe("presence-room", "ann") == {"ann"}
    publish(node, "presence-room", "local")
    client.hear("local")
    time.sleep(3)
    assert node.log.count("cannot be used") == 1
    redis.start()

    poll("ready", lambda: status(node, "/ready")[0] == 200)
    assert users(node) == {"ann"}
    client.hears_nothing()


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (":wrong@", "WRONGPASS"),
        ("nobody:wrong@", "WRONGPASS"),
        ("", "NOAUTH"),
    ],
)
def test_a_wrong_password_ends_the_start_with_one_line(tmp_path, start_server, who, error):
    redis = RedisServer(tmp_path, "--requirepass", "right")
    try:
        node = start_server(
            "--port", "0", "--redis", redis.url(credentials=who), *AS_APP, wait=False
        )
        assert node.wait() == 1
    finally:
        redis.kill()
    lines = [line for line in node.log.splitlines() if "reverb: " in line]
    assert lines
    assert f"127.0.0.1:{redis.port}/0 cannot be used: {error}" in lines[-1]
    assert "Traceback" not in node.log
    assert "wrong" not in node.log


def test_users_and_passwords_of_redis_are_understood(tmp_path, start_server):
    redis = RedisServer(
        tmp_path, "--requirepass", "right", "--user", *["ann", "on", ">p@ss/1", "~*", "&*", "+@all"]
    )
    try:
        urls = [redis.url(credentials=":right@"), redis.url(credentials="ann:p%40ss%2F1@")]
        for url in urls:
            node = start_server("--port", "0", "--redis", url, *AS_APP)
            poll("ready", lambda node=node: status(node, "/ready")[0] == 200)
            assert "p@ss" not in node.log
            node.check_empty()
            node.stop()
    finally:
        redis.kill()


def test_a_database_that_redis_does_not_have_ends_the_start(redis, start_server):
    url = f"redis://127.0.0.1:{redis.port}/99"
    node = start_server("--port", "0", "--redis", url, *AS_APP, wait=False)

    assert node.wait() == 1
    assert "cannot be used: ERR DB index is out of range" in node.log


@pytest.mark.parametrize("scheme", ["rediss", "unix"])
def test_redis_by_tls_and_by_a_unix_socket(scheme, tmp_path, pem, start_server, monkeypatch):
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
        node = start_server("--port", "0", "--redis", urls[scheme], *AS_APP)
        poll("ready", lambda: status(node, "/ready")[0] == 200)
        node.check_empty()
        node.stop()
    finally:
        redis.kill()


def test_what_is_no_redis_is_told_of(start_server):
    with socket.create_server(("127.0.0.1", 0)) as web:
        web.settimeout(20)
        url = f"redis://127.0.0.1:{web.getsockname()[1]}"
        node = start_server("--port", "0", "--redis", url, *AS_APP, wait=False)
        for _ in range(2):  # The check at the start, and the first connect.
            accepted, _ = web.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()
        node._wait_until_up()
        poll("told", lambda: "cannot be used" in node.log)
        assert status(node, "/ready")[0] == 503
        assert json.loads(status(node, "/up")[1]) == {"health": "OK"}
