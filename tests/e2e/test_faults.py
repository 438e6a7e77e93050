"""What users notice when the way to Redis is slow, dead or cut, or Redis is not what it was."""

import time

import pytest
from e2e_ledger import Subscription
from e2e_scaling import LEASE, publish, status, users
from e2e_server import Server, poll

from redis_proxy import TO_NODE, TO_REDIS, Proxy
from redis_server import RedisServer

FOUND = 10
"""Seconds within which a node must notice, and whoever asks must be answered."""
HEALED = 5
"""Seconds within which all is exact again."""


@pytest.fixture
def make_proxy(redis):
    proxies = []

    def make() -> Proxy:
        proxies.append(Proxy(redis.port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


def is_ready(server: Server) -> bool:
    return status(server, "/ready")[0] == 200


def members(client, known: set[str]) -> set[str]:
    """What a client was told of the members since it knew some; each change must make sense."""
    client.catch_up()
    subscription = Subscription(set(known))
    for told in client.heard:
        if isinstance(told, str) and told[0] in "+-":
            assert subscription.change(told[0], told[1:]) is None
    return subscription.members


def until_known(client, known: set[str], expected: set[str]) -> None:
    poll(f"{expected} known", lambda: members(client, known) == expected, HEALED + LEASE)


def took(began: float) -> float:
    return time.monotonic() - began


def test_a_slow_redis_makes_slow_and_nothing_else(start_node, connect, make_proxy):
    proxy = make_proxy()
    slow, fast = start_node(url=proxy.url("shop")), start_node()
    local, ann = connect(slow), connect(slow)
    local.subscribe("news")
    proxy.delay = 1.0

    # Who has to ask Redis waits for it; nobody else does.
    began = time.monotonic()
    ann.begin_subscribing("presence-room", "ann")
    for number in range(5):
        local.hears_nothing()
        publish(slow, "news", number)
        local.hear(number)
    assert not ann.has_been_sent_anything()
    ann.read_until("pusher_internal:subscription_succeeded")
    assert took(began) < FOUND

    bob = connect(fast)
    assert bob.subscribe("presence-room", "bob") == {"ann", "bob"}
    ann.hear("+bob")
    publish(slow, "presence-room", "from afar")
    for client in (ann, bob):
        client.hear("from afar")
    assert users(slow) == users(fast) == {"ann", "bob"}
    # It is slow, but there.
    time.sleep(3)
    assert is_ready(slow)
    assert slow.log.count("connected to Redis") == 1
    proxy.delay = 0.0


def test_a_half_open_line_is_found_and_nobody_waits_for_ever(start_node, connect, make_proxy):
    ways = [(TO_REDIS,), (TO_NODE,), (TO_REDIS, TO_NODE)]
    proxies = [make_proxy() for _ in ways]
    nodes = [start_node(url=proxy.url("shop")) for proxy in proxies]
    clients = [connect(server) for server in nodes]
    for number, client in enumerate(clients):
        client.subscribe("presence-room", f"user{number}")
    everybody = {"user0", "user1", "user2"}
    for client in clients[:2]:
        poll("known", lambda client=client: client.catch_up() or "+user2" in client.heard)
        client.heard.clear()
    late = [connect(server) for server in nodes]
    began = time.monotonic()
    for proxy, lost in zip(proxies, ways, strict=True):
        proxy.lose(*lost)
    for number, client in enumerate(late):
        client.begin_subscribing("presence-room", f"late{number}")
    for server, client in zip(nodes, late, strict=True):
        client.read_until("pusher_internal:subscription_succeeded")
        assert took(began) < FOUND
        code, why = status(server, "/ready")
        assert code == 503
        assert "Redis is not connected: it did not answer within 5 seconds" in why
    for proxy in proxies:
        proxy.restore()
    everybody |= {"late0", "late1", "late2"}
    for server in nodes:
        poll("healed", lambda server=server: is_ready(server) and users(server) == everybody)
        assert server.ask("/connections") == {"connections": 6}
    for client in clients:
        until_known(client, {"user0", "user1", "user2"}, everybody)
        client.heard.clear()
    publish(nodes[0], "presence-room", "once")
    for client in clients:
        client.hear("once")
        client.hears_nothing()


def test_redis_is_killed_and_comes_back_with_what_it_knew(tmp_path, start_node, connect):
    directory = tmp_path / "persistent"
    directory.mkdir()
    redis = RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always")
    try:
        one, other = (start_node(url=redis.url("shop")) for _ in range(2))
        ann, bob, cat = connect(one), connect(other), connect(other)
        ann.subscribe("presence-room", "ann")
        bob.subscribe("presence-room", "bob")
        cat.subscribe("presence-room", "cat")
        ann.hear("+bob", "+cat")
        bob.hear("+cat")
        doomed = start_node(url=redis.url("shop"))
        connect(doomed).subscribe("presence-room", "zoe")
        for client in (ann, bob):
            client.hear("+zoe")
        redis.kill()
        doomed.kill()
        poll("not ready", lambda: not is_ready(one) and not is_ready(other))
        cat.socket.close()
        bob.hear("-cat")
        dan = connect(one)
        dan.subscribe("presence-room", "dan")
        ann.hear("+dan")
        publish(one, "presence-room", "here only")
        ann.hear("here only")
        redis.start()
        began = time.monotonic()

        poll("ready", lambda: is_ready(one) and is_ready(other))
        # The node that died meanwhile is missed when its lease has expired.
        for client, heard in ((ann, {"-cat", "-zoe"}), (bob, {"+dan", "-zoe"})):
            while len(client.heard) < 2:
                client.read()
            assert set(client.heard) == heard
            client.heard.clear()
        assert took(began) < HEALED + 2 * LEASE
        for server in (one, other):
            assert users(server) == {"ann", "bob", "dan"}
            assert server.ask("/connections") == {"connections": 3}
        publish(other, "presence-room", "for all")
        for client in (ann, bob):
            client.hear("for all")
            client.hears_nothing()
    finally:
        redis.kill()


def test_redis_stands_still_beyond_the_lease(redis, nodes, connect):
    one, other = nodes
    ann, bob, cat = connect(one), connect(other), connect(other)
    for client, name in ((ann, "ann"), (bob, "bob"), (cat, "cat")):
        client.subscribe("presence-room", name)
    ann.hear("+bob", "+cat")
    bob.hear("+cat")
    late = connect(one)
    redis.pause()
    cat.socket.close()
    late.begin_subscribing("presence-room", "dan")
    publish(one, "presence-room", "under way")
    time.sleep(2 * LEASE)
    redis.resume()
    began = time.monotonic()

    late.read_until("pusher_internal:subscription_succeeded")
    everybody = {"ann", "bob", "dan"}
    for server in nodes:
        poll("healed", lambda server=server: is_ready(server) and users(server) == everybody)
        poll("counted", lambda server=server: server.ask("/connections") == {"connections": 3})
    for client, known in ((ann, {"ann", "bob", "cat"}), (bob, {"ann", "bob", "cat"})):
        until_known(client, known, everybody)
    assert took(began) < HEALED + LEASE
    assert "under way" in ann.heard
    time.sleep(LEASE + 1)
    for client in (ann, bob, late):
        client.catch_up()
        assert client.heard.count("under way") <= 1
        client.heard.clear()
    publish(other, "presence-room", "once")
    for client in (ann, bob, late):
        client.hear("once")
        client.hears_nothing()


def test_one_node_of_three_is_cut_off_while_users_come_and_go(start_node, connect, make_proxy):
    proxy = make_proxy()
    one, other, lonely = start_node(), start_node(), start_node(url=proxy.url("shop"))
    listeners = [connect(server) for server in (one, other, lonely)]
    for number, listener in enumerate(listeners):
        listener.subscribe("presence-room", f"watcher{number}")
    here, there = connect(one), connect(lonely)
    here.subscribe("presence-room", "here")
    there.subscribe("presence-room", "there")
    twice = [connect(other), connect(lonely)]
    for client in twice:
        client.subscribe("presence-room", "twice")
    everybody = {"watcher0", "watcher1", "watcher2", "here", "there", "twice"}
    for number, listener in enumerate(listeners):
        known = {f"watcher{n}" for n in range(number + 1)}
        until_known(listener, known, everybody)
        listener.heard.clear()
    proxy.block()
    # While the node does not know it yet, and when it does.
    here.socket.close()
    there.socket.close()
    for server, name in ((one, "new here"), (lonely, "new there")):
        connect(server).subscribe("presence-room", name)
    poll("found", lambda: not is_ready(lonely), FOUND)
    twice[0].socket.close()
    for server, name in ((other, "newer here"), (lonely, "newer there")):
        connect(server).subscribe("presence-room", name)
    publish(lonely, "presence-room", "there only")
    publish(one, "presence-room", "here only")
    poll("missed", lambda: "watcher2" not in users(one))
    proxy.restore()
    began = time.monotonic()

    everybody = everybody - {"here", "there"} | {"new here", "new there"}
    everybody |= {"newer here", "newer there"}
    for server in (one, other, lonely):
        poll("healed", lambda server=server: is_ready(server) and users(server) == everybody)
        assert server.ask("/connections") == {"connections": 8}
    known = {"watcher0", "watcher1", "watcher2", "here", "there", "twice"}
    for listener in listeners:
        until_known(listener, known, everybody)
    assert took(began) < HEALED + LEASE
    assert [listener.heard.count("here only") for listener in listeners] == [1, 1, 0]
    assert listeners[2].heard.count("there only") == 1
    for listener in listeners:
        listener.heard.clear()
    publish(lonely, "presence-room", "once")
    for listener in listeners:
        listener.hear("once")
        listener.hears_nothing()
