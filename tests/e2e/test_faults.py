"""Effects on users of slow, dead or blocked connections to Redis, and of outages of Redis."""

import time

import pytest

from tests.support.proxy import TO_NODE, TO_REDIS, Proxy
from tests.support.redis_server import RedisServer

from .ledger import SubscriptionLedger
from .scaling import LEASE, is_ready, publish, status, users
from .server import poll

DETECTION_TIMEOUT = 10
"""Seconds within which a node must detect a fault, and every request must be answered."""
RECOVERY_TIMEOUT = 5
"""Seconds after a fault within which all state must be exact again."""


@pytest.fixture
def make_proxy(redis):
    proxies = []

    def make() -> Proxy:
        proxies.append(Proxy(redis.port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


def members(client, known: set[str]) -> set[str]:
    """Apply the changes that a client received to its known members; each must be consistent."""
    client.catch_up()
    ledger = SubscriptionLedger(set(known))
    for data in client.received:
        if isinstance(data, str) and data[0] in "+-":
            assert ledger.record_member(data[0], data[1:]) is None
    return ledger.members


def wait_for_members(client, known: set[str], expected: set[str]) -> None:
    poll(
        f"the client knows {expected}",
        lambda: members(client, known) == expected,
        RECOVERY_TIMEOUT + LEASE,
    )


def elapsed(began: float) -> float:
    return time.monotonic() - began


def test_a_slow_redis_delays_only_what_needs_redis(start_node, connect, make_proxy):
    proxy = make_proxy()
    slow, fast = start_node(redis_url=proxy.url("shop")), start_node()
    local, ann = connect(slow), connect(slow)
    local.subscribe("news")
    proxy.delay = 0.4

    # A request that needs Redis waits for it; other requests do not wait.
    began = time.monotonic()
    ann.send_subscribe("presence-room", "ann")
    for number in range(5):
        local.assert_nothing_received()
        publish(slow, "news", number)
        local.assert_received(number)
    assert not ann.has_unread_data()
    ann.read_until("pusher_internal:subscription_succeeded")
    assert elapsed(began) < DETECTION_TIMEOUT

    bob = connect(fast)
    assert bob.subscribe("presence-room", "bob") == {"ann", "bob"}
    ann.assert_received("+bob")
    publish(slow, "presence-room", "from afar")
    for client in (ann, bob):
        client.assert_received("from afar")
    assert users(slow) == users(fast) == {"ann", "bob"}
    # A slow Redis counts as connected.
    time.sleep(3)
    assert is_ready(slow)
    assert slow.log.count("connected to Redis") == 1
    proxy.delay = 0.0


def test_a_half_open_connection_is_detected_and_no_client_waits_forever(
    start_node, connect, make_proxy
):
    directions = [(TO_REDIS,), (TO_NODE,), (TO_REDIS, TO_NODE)]
    proxies = [make_proxy() for _ in directions]
    nodes = [start_node(redis_url=proxy.url("shop")) for proxy in proxies]
    clients = [connect(server) for server in nodes]
    for number, client in enumerate(clients):
        client.subscribe("presence-room", f"user{number}")
    expected = {"user0", "user1", "user2"}
    for client in clients[:2]:
        poll("user2 joined", lambda client=client: client.catch_up() or "+user2" in client.received)
        client.received.clear()
    late_clients = [connect(server) for server in nodes]
    began = time.monotonic()
    for proxy, lost in zip(proxies, directions, strict=True):
        proxy.lose(*lost)
    for number, client in enumerate(late_clients):
        client.send_subscribe("presence-room", f"late{number}")
    for server, client in zip(nodes, late_clients, strict=True):
        client.read_until("pusher_internal:subscription_succeeded")
        # The node answers by itself, long before it finds the connection half open.
        assert is_ready(server)
    poll("no node is ready", lambda: not any(is_ready(server) for server in nodes))
    assert elapsed(began) < DETECTION_TIMEOUT
    reason = "Redis is not connected: it did not answer within 5 seconds"
    assert all(reason in status(server, "/ready")[1] for server in nodes)
    for proxy in proxies:
        proxy.restore()
    expected |= {"late0", "late1", "late2"}
    for server in nodes:
        poll("members exact", lambda server=server: is_ready(server) and users(server) == expected)
        assert server.api_get("/connections") == {"connections": 6}
    for client in clients:
        wait_for_members(client, {"user0", "user1", "user2"}, expected)
        client.received.clear()
    publish(nodes[0], "presence-room", "once")
    for client in clients:
        client.assert_received("once")
        client.assert_nothing_received()


def test_redis_is_killed_and_restarts_with_its_data(tmp_path, start_node, connect):
    directory = tmp_path / "persistent"
    directory.mkdir()
    redis = RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always")
    try:
        one, other = (start_node(redis_url=redis.url("shop")) for _ in range(2))
        ann, bob, cat = connect(one), connect(other), connect(other)
        ann.subscribe("presence-room", "ann")
        bob.subscribe("presence-room", "bob")
        cat.subscribe("presence-room", "cat")
        ann.assert_received("+bob", "+cat")
        bob.assert_received("+cat")
        victim = start_node(redis_url=redis.url("shop"))
        connect(victim).subscribe("presence-room", "zoe")
        for client in (ann, bob):
            client.assert_received("+zoe")
        redis.kill()
        victim.kill()
        poll("no node is ready", lambda: not is_ready(one) and not is_ready(other))
        cat.socket.close()
        bob.assert_received("-cat")
        dan = connect(one)
        dan.subscribe("presence-room", "dan")
        ann.assert_received("+dan")
        publish(one, "presence-room", "here only")
        ann.assert_received("here only")
        redis.start()
        began = time.monotonic()

        poll("all nodes are ready", lambda: is_ready(one) and is_ready(other))
        # The dead node is detected when its lease expires.
        for client, changes in ((ann, {"-cat", "-zoe"}), (bob, {"+dan", "-zoe"})):
            while len(client.received) < 2:
                client.read()
            assert set(client.received) == changes
            client.received.clear()
        assert elapsed(began) < RECOVERY_TIMEOUT + 2 * LEASE
        for server in (one, other):
            assert users(server) == {"ann", "bob", "dan"}
            assert server.api_get("/connections") == {"connections": 3}
        publish(other, "presence-room", "for all")
        for client in (ann, bob):
            client.assert_received("for all")
            client.assert_nothing_received()
    finally:
        redis.kill()


def test_redis_pauses_for_longer_than_the_lease(redis, nodes, connect):
    one, other = nodes
    ann, bob, cat = connect(one), connect(other), connect(other)
    for client, name in ((ann, "ann"), (bob, "bob"), (cat, "cat")):
        client.subscribe("presence-room", name)
    ann.assert_received("+bob", "+cat")
    bob.assert_received("+cat")
    late = connect(one)
    redis.pause()
    cat.socket.close()
    late.send_subscribe("presence-room", "dan")
    publish(one, "presence-room", "under way")
    time.sleep(2 * LEASE)
    redis.resume()
    began = time.monotonic()

    late.read_until("pusher_internal:subscription_succeeded")
    expected = {"ann", "bob", "dan"}
    for server in nodes:
        poll("members exact", lambda server=server: is_ready(server) and users(server) == expected)
        poll(
            "3 connections",
            lambda server=server: server.api_get("/connections") == {"connections": 3},
        )
    for client, known in ((ann, {"ann", "bob", "cat"}), (bob, {"ann", "bob", "cat"})):
        wait_for_members(client, known, expected)
    assert elapsed(began) < RECOVERY_TIMEOUT + LEASE
    assert "under way" in ann.received
    time.sleep(LEASE + 1)
    for client in (ann, bob, late):
        client.catch_up()
        assert client.received.count("under way") <= 1
        client.received.clear()
    publish(other, "presence-room", "once")
    for client in (ann, bob, late):
        client.assert_received("once")
        client.assert_nothing_received()


def test_users_join_and_leave_while_one_node_of_three_is_isolated(start_node, connect, make_proxy):
    proxy = make_proxy()
    one, other, isolated = start_node(), start_node(), start_node(redis_url=proxy.url("shop"))
    listeners = [connect(server) for server in (one, other, isolated)]
    for number, listener in enumerate(listeners):
        listener.subscribe("presence-room", f"watcher{number}")
    here, there = connect(one), connect(isolated)
    here.subscribe("presence-room", "here")
    there.subscribe("presence-room", "there")
    twice = [connect(other), connect(isolated)]
    for client in twice:
        client.subscribe("presence-room", "twice")
    expected = {"watcher0", "watcher1", "watcher2", "here", "there", "twice"}
    for number, listener in enumerate(listeners):
        known = {f"watcher{n}" for n in range(number + 1)}
        wait_for_members(listener, known, expected)
        listener.received.clear()
    proxy.block()
    # Users join and leave before the node detects the fault, and again after that.
    here.socket.close()
    there.socket.close()
    for server, name in ((one, "new here"), (isolated, "new there")):
        connect(server).subscribe("presence-room", name)
    poll("the node is not ready", lambda: not is_ready(isolated), DETECTION_TIMEOUT)
    twice[0].socket.close()
    for server, name in ((other, "newer here"), (isolated, "newer there")):
        connect(server).subscribe("presence-room", name)
    publish(isolated, "presence-room", "there only")
    publish(one, "presence-room", "here only")
    poll("watcher2 left", lambda: "watcher2" not in users(one))
    proxy.restore()
    began = time.monotonic()

    expected = expected - {"here", "there"} | {"new here", "new there"}
    expected |= {"newer here", "newer there"}
    for server in (one, other, isolated):
        poll("members exact", lambda server=server: is_ready(server) and users(server) == expected)
        assert server.api_get("/connections") == {"connections": 8}
    known = {"watcher0", "watcher1", "watcher2", "here", "there", "twice"}
    for listener in listeners:
        wait_for_members(listener, known, expected)
    assert elapsed(began) < RECOVERY_TIMEOUT + LEASE
    assert [listener.received.count("here only") for listener in listeners] == [1, 1, 0]
    assert listeners[2].received.count("there only") == 1
    for listener in listeners:
        listener.received.clear()
    publish(isolated, "presence-room", "once")
    for listener in listeners:
        listener.assert_received("once")
        listener.assert_nothing_received()
