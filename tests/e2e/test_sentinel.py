"""Nodes follow the master that Redis Sentinel names: real sentinels, a replica, real nodes."""

import time
from functools import partial

import pytest

from tests.support.ports import reserve_port
from tests.support.redis_sentinel import NAME, Sentinel, SentinelDeployment
from tests.support.redis_server import RedisServer

from .scaling import is_ready, publish, status, users
from .server import APP_OPTIONS, poll
from .webhooks import deliveries

DETECTION_TIMEOUT = 10
"""Seconds within which a node must detect that its Redis is no longer the master."""


@pytest.fixture
def deployment(tmp_path):
    deployment = SentinelDeployment(tmp_path)
    yield deployment
    deployment.kill()


def test_nodes_follow_the_master(deployment, start_node, connect):
    nodes = [start_node(redis_url=deployment.url("shop")) for _ in range(2)]
    one, other = nodes
    ann, bob = connect(one), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    ann.assert_received("+bob")
    assert f"127.0.0.1:{deployment.master.port}, the master of redis+sentinel://" in one.log

    def have_connected(times):
        return all(
            server.log.count("connected to Redis at") == times and is_ready(server)
            for server in nodes
        )

    # A manual failover: the old master continues as a replica.
    assert deployment.sentinels[0].ask("SENTINEL", "FAILOVER", NAME).startswith("+OK")
    deployment.until_promoted()
    poll(
        "the old master is a replica",
        lambda: "role:slave" in deployment.master.ask("INFO", "replication"),
    )
    poll("the nodes have moved", lambda: have_connected(2), DETECTION_TIMEOUT + 5)
    for server in nodes:
        assert users(server) == {"ann", "bob"}
    publish(one, "presence-room", 1)
    for client in (ann, bob):
        client.assert_received(1)
        client.assert_nothing_received()

    # The new master is killed; a user joins before another is elected.
    poll(
        "the replica is in sync",
        lambda: "master_link_status:up" in deployment.master.ask("INFO", "replication"),
    )
    poll("all sentinels name the new master", deployment.all_name_the_replica)
    deployment.replica.kill()
    for server in nodes:
        poll("the node is not ready", lambda server=server: not is_ready(server))
    cat = connect(other)
    cat.subscribe("presence-room", "cat")
    bob.assert_received("+cat")
    began = time.monotonic()
    poll("the nodes have moved", lambda: have_connected(3), DETECTION_TIMEOUT + 10)
    ann.assert_received("+cat")
    assert time.monotonic() - began < DETECTION_TIMEOUT + 10
    for server in nodes:
        assert users(server) == {"ann", "bob", "cat"}
        assert server.api_get("/connections") == {"connections": 3}
    publish(other, "presence-room", 2)
    for client in (ann, bob, cat):
        client.assert_received(2)
        client.assert_nothing_received()


class ReportedOccupancy:
    """The users and the channel that are present according to the webhooks received."""

    def __init__(self, receiver):
        self._requests = receiver.requests
        self._present = set()

    def equals(self, expected):
        while not self._requests.empty():
            for event in self._requests.get().events:
                key = event.get("user_id", event["channel"])
                has_joined = event["name"] in ("channel_occupied", "member_added")
                (self._present.add if has_joined else self._present.discard)(key)
        return self._present == expected


def join_and_leave(connect, nodes, name):
    """Let two users join on each node, and one of each pair leave; return the remaining users."""
    clients = {f"{name}{n}": connect(server) for n, server in enumerate([*nodes, *nodes])}
    for user_id, client in clients.items():
        client.subscribe("presence-room", user_id)
    remaining, leaving = list(clients)[:2], list(clients.values())[2:]
    for client in leaving:
        client.socket.close()
    return set(remaining)


def all_delivered(server):
    return is_ready(server) and all(one["state"] == "delivered" for one in deliveries(server))


def test_webhooks_survive_failovers(deployment, start_node, connect, receiver):
    extra_config = "[webhooks]\ndebounce = 1\n"
    webhook = receiver.url("/hook")
    nodes = [
        start_node(redis_url=deployment.url("shop"), webhook=webhook, extra_config=extra_config)
        for _ in range(2)
    ]
    join = partial(join_and_leave, connect, nodes)
    reported = ReportedOccupancy(receiver)

    def check(remaining):
        occupancy = {"presence-room", *remaining}
        poll(f"reported {occupancy}", lambda: reported.equals(occupancy), DETECTION_TIMEOUT + 20)
        for server in nodes:
            poll("all webhooks are delivered", lambda server=server: all_delivered(server))
            poll(f"members {remaining}", lambda server=server: users(server) == remaining)
        assert reported.equals(occupancy)

    # A manual failover; users join and leave before the nodes notice, and while they reconnect.
    remaining = join("a")
    assert deployment.sentinels[0].ask("SENTINEL", "FAILOVER", NAME).startswith("+OK")
    remaining |= join("b")
    deployment.until_promoted()
    remaining |= join("c")
    check(remaining)

    # The new master is killed.
    poll(
        "the replica is in sync",
        lambda: "master_link_status:up" in deployment.master.ask("INFO", "replication"),
    )
    poll("all sentinels name the new master", deployment.all_name_the_replica)
    remaining |= join("d")
    deployment.replica.kill()
    remaining |= join("e")
    check(remaining)


def test_sentinels_and_redis_have_different_passwords(tmp_path, start_server, start_node):
    redis = RedisServer(tmp_path, "--requirepass", "right")
    try:
        lines = f"requirepass s3cret\nsentinel auth-pass {NAME} right"
        sentinel = Sentinel(tmp_path / "sentinel", redis.port, lines=lines)
        try:
            _check_passwords(sentinel, redis, start_server, start_node)
        finally:
            sentinel.kill()
    finally:
        redis.kill()


def _check_passwords(sentinel, redis, start_server, start_node):
    address = f"127.0.0.1:{sentinel.port}"
    master = f"127.0.0.1:{redis.port}, the master of redis+sentinel://{address}/{NAME}/0,"
    for url, error in (
        (f":right@{address}/{NAME}", f"the sentinel at {address} cannot be used: NOAUTH"),
        (
            f"{address}/{NAME}?sentinel_password=no",
            f"the sentinel at {address} cannot be used: WRONGPASS",
        ),
        (
            f":right@{address}/x?sentinel_password=s3cret",
            f"the sentinel at {address} knows no master named x",
        ),
        (
            f":no@{address}/{NAME}?sentinel_password=s3cret",
            f"Redis at {master} cannot be used: WRONGP",
        ),
    ):
        refused = start_server(
            "--port", "0", "--redis", f"redis+sentinel://{url}", *APP_OPTIONS, wait=False
        )
        assert refused.wait() == 1
        lines = [line for line in refused.log.splitlines() if "reverb: " in line]
        assert f"reverb: {error}" in lines[-1]
        assert "Traceback" not in refused.log
        assert "right" not in refused.log
        assert "s3cret" not in refused.log
    node = start_node(
        redis_url=f"redis+sentinel://:right@{address}/{NAME}?sentinel_password=s3cret"
    )
    # The node stays connected to Redis without the sentinel.
    sentinel.kill()
    time.sleep(4)
    assert is_ready(node)


def test_tls_is_used_to_the_sentinel_and_to_the_master(tmp_path, pem, start_node, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    redis_port, sentinel_port = str(reserve_port()), str(reserve_port())
    tls = {"cert-file": pem, "key-file": pem, "ca-cert-file": pem, "auth-clients": "no"}
    options = [option for name, value in tls.items() for option in (f"--tls-{name}", str(value))]
    lines = "\n".join(f"tls-{name} {value}" for name, value in tls.items())
    lines = f"{lines}\ntls-port {sentinel_port}\ntls-replication yes"
    redis = RedisServer(tmp_path, "--tls-port", redis_port, *options)
    try:
        sentinel = Sentinel(tmp_path / "sentinel", int(redis_port), lines=lines)
        try:
            node = start_node(redis_url=f"rediss+sentinel://127.0.0.1:{sentinel_port}/{NAME}/1")
            assert f"connected to Redis at 127.0.0.1:{redis_port}, the master of" in node.log
            node.check_empty()
            node.stop()
        finally:
            sentinel.kill()
    finally:
        redis.kill()


def test_a_node_starts_without_sentinels_and_keeps_retrying(tmp_path, start_node):
    redis = RedisServer(tmp_path)
    try:
        sentinel = Sentinel(tmp_path / "sentinel", redis.port)
        sentinel.kill()
        node = start_node(
            redis_url=f"redis+sentinel://127.0.0.1:{sentinel.port}/{NAME}", wait=False
        )
        poll("the error is reported", lambda: "cannot be reached" in status(node, "/ready")[1])
        assert f"the sentinel at 127.0.0.1:{sentinel.port} cannot be reached" in node.log
        sentinel.start()
        try:
            poll("the node is ready", lambda: is_ready(node))
        finally:
            sentinel.kill()
        node.check_empty()
        node.stop()
    finally:
        redis.kill()
