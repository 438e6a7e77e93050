"""Nodes follow the master that the sentinels name: real sentinels, a replica, real processes."""

import time
from functools import partial

import pytest
from e2e_scaling import publish, status, users
from e2e_server import AS_APP, poll
from e2e_webhooks import deliveries

from ports import reserve_port
from redis_sentinel import NAME, Sentinel, SentinelDeployment
from redis_server import RedisServer

FOUND = 10
"""Seconds within which a node must notice that its Redis is the master no more."""


@pytest.fixture
def watched(tmp_path):
    watched = SentinelDeployment(tmp_path)
    yield watched
    watched.kill()


def ready(server):
    return status(server, "/ready")[0] == 200


def test_nodes_follow_the_master(watched, start_node, connect):
    nodes = [start_node(url=watched.url("shop")) for _ in range(2)]
    one, other = nodes
    ann, bob = connect(one), connect(other)
    ann.subscribe("presence-room", "ann")
    bob.subscribe("presence-room", "bob")
    ann.hear("+bob")
    assert f"127.0.0.1:{watched.master.port}, the master of redis+sentinel://" in one.log

    def moved(times):
        return all(
            server.log.count("connected to Redis at") == times and ready(server) for server in nodes
        )

    # By hand: the old master lives on, as a replica.
    assert watched.sentinels[0].ask("SENTINEL", "FAILOVER", NAME).startswith("+OK")
    watched.until_promoted()
    poll("demoted", lambda: "role:slave" in watched.master.ask("INFO", "replication"))
    poll("moved", lambda: moved(2), FOUND + 5)
    for server in nodes:
        assert users(server) == {"ann", "bob"}
    publish(one, "presence-room", 1)
    for client in (ann, bob):
        client.hear(1)
        client.hears_nothing()

    # The new master dies; while there is none, users come and go.
    poll("in step", lambda: "master_link_status:up" in watched.master.ask("INFO", "replication"))
    poll("all sentinels know", watched.all_name_the_replica)
    watched.replica.kill()
    for server in nodes:
        poll("not ready", lambda server=server: not ready(server))
    cat = connect(other)
    cat.subscribe("presence-room", "cat")
    bob.hear("+cat")
    began = time.monotonic()
    poll("moved", lambda: moved(3), FOUND + 10)
    ann.hear("+cat")
    assert time.monotonic() - began < FOUND + 10
    for server in nodes:
        assert users(server) == {"ann", "bob", "cat"}
        assert server.ask("/connections") == {"connections": 3}
    publish(other, "presence-room", 2)
    for client in (ann, bob, cat):
        client.hear(2)
        client.hears_nothing()


class Told:
    """Who is there as far as the endpoint knows: users, and the channel."""

    def __init__(self, receiver):
        self._requests = receiver.requests
        self.there = set()

    def are(self, expected):
        while not self._requests.empty():
            for event in self._requests.get().events:
                who = event.get("user_id", event["channel"])
                has_come = event["name"] in ("channel_occupied", "member_added")
                (self.there.add if has_come else self.there.discard)(who)
        return self.there == expected


def come_and_go(connect, nodes, name):
    """Have two users come to each node, of whom one leaves; get who stays."""
    clients = {f"{name}{n}": connect(server) for n, server in enumerate([*nodes, *nodes])}
    for user_id, client in clients.items():
        client.subscribe("presence-room", user_id)
    stays, leaves = list(clients)[:2], list(clients.values())[2:]
    for client in leaves:
        client.socket.close()
    return set(stays)


def all_delivered(server):
    return ready(server) and all(one["state"] == "delivered" for one in deliveries(server))


def test_webhooks_outlive_the_masters(watched, start_node, connect, receiver):
    more = "[webhooks]\ndebounce = 1\n"
    hook = receiver.url("/hook")
    nodes = [start_node(url=watched.url("shop"), webhook=hook, more=more) for _ in range(2)]
    come = partial(come_and_go, connect, nodes)
    told = Told(receiver)

    def check(stay):
        poll(f"{stay} told", lambda: told.are({"presence-room", *stay}), FOUND + 20)
        for server in nodes:
            poll("done", lambda server=server: all_delivered(server))
            poll(f"{stay} there", lambda server=server: users(server) == stay)
        assert told.are({"presence-room", *stay})

    # By hand; users come and go before the nodes notice, and while they move.
    stay = come("a")
    assert watched.sentinels[0].ask("SENTINEL", "FAILOVER", NAME).startswith("+OK")
    stay |= come("b")
    watched.until_promoted()
    stay |= come("c")
    check(stay)

    # The new master dies.
    poll("in step", lambda: "master_link_status:up" in watched.master.ask("INFO", "replication"))
    poll("all sentinels know", watched.all_name_the_replica)
    stay |= come("d")
    watched.replica.kill()
    stay |= come("e")
    check(stay)


def test_sentinels_and_redis_have_passwords_of_their_own(tmp_path, start_server, start_node):
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
    at = f"127.0.0.1:{sentinel.port}"
    master = f"127.0.0.1:{redis.port}, the master of redis+sentinel://{at}/{NAME}/0,"
    for url, sentence in (
        (f":right@{at}/{NAME}", f"the sentinel at {at} cannot be used: NOAUTH"),
        (f"{at}/{NAME}?sentinel_password=no", f"the sentinel at {at} cannot be used: WRONGPASS"),
        (
            f":right@{at}/x?sentinel_password=s3cret",
            f"the sentinel at {at} knows no master named x",
        ),
        (f":no@{at}/{NAME}?sentinel_password=s3cret", f"Redis at {master} cannot be used: WRONGP"),
    ):
        refused = start_server(
            "--port", "0", "--redis", f"redis+sentinel://{url}", *AS_APP, wait=False
        )
        assert refused.wait() == 1
        lines = [line for line in refused.log.splitlines() if "reverb: " in line]
        assert f"reverb: {sentence}" in lines[-1]
        assert "Traceback" not in refused.log
        assert "right" not in refused.log
        assert "s3cret" not in refused.log
    node = start_node(url=f"redis+sentinel://:right@{at}/{NAME}?sentinel_password=s3cret")
    # It stays when the sentinel goes.
    sentinel.kill()
    time.sleep(4)
    assert ready(node)


def test_tls_goes_to_the_sentinel_and_to_the_master(tmp_path, pem, start_node, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    redis_port, sentinel_port = str(reserve_port()), str(reserve_port())
    tls = {"cert-file": pem, "key-file": pem, "ca-cert-file": pem, "auth-clients": "no"}
    options = [word for name, value in tls.items() for word in (f"--tls-{name}", str(value))]
    lines = "\n".join(f"tls-{name} {value}" for name, value in tls.items())
    lines = f"{lines}\ntls-port {sentinel_port}\ntls-replication yes"
    redis = RedisServer(tmp_path, "--tls-port", redis_port, *options)
    try:
        sentinel = Sentinel(tmp_path / "sentinel", int(redis_port), lines=lines)
        try:
            node = start_node(url=f"rediss+sentinel://127.0.0.1:{sentinel_port}/{NAME}/1")
            assert f"connected to Redis at 127.0.0.1:{redis_port}, the master of" in node.log
            node.check_empty()
            node.stop()
        finally:
            sentinel.kill()
    finally:
        redis.kill()


def test_a_node_starts_without_sentinels_and_goes_on_trying(tmp_path, start_node):
    redis = RedisServer(tmp_path)
    try:
        sentinel = Sentinel(tmp_path / "sentinel", redis.port)
        sentinel.kill()
        node = start_node(url=f"redis+sentinel://127.0.0.1:{sentinel.port}/{NAME}", ready=False)
        poll("told", lambda: "cannot be reached" in status(node, "/ready")[1])
        assert f"the sentinel at 127.0.0.1:{sentinel.port} cannot be reached" in node.log
        sentinel.start()
        try:
            poll("ready", lambda: ready(node))
        finally:
            sentinel.kill()
        node.check_empty()
        node.stop()
    finally:
        redis.kill()
