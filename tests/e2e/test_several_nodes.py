"""Nodes that share a Redis, or a Redis and a NATS, act as one server: real processes."""

import time
from functools import partial

import pytest

from .auth import SDK
from .raw_websocket import CLOSE, message
from .scaling import LEASE, publish, users
from .server import poll


@pytest.fixture(params=["redis", "nats"])
def start_node(request, start_node):
    """Start nodes whose broker is Redis or NATS."""
    if request.param == "redis":
        return start_node
    return partial(start_node, broker=request.getfixturevalue("nats").url("shop"))


@pytest.fixture
def nodes(start_node):
    return start_node(), start_node()


def test_events_reach_subscribers_of_all_nodes_once_and_in_order(nodes, connect):
    one, other = nodes
    here, there = connect(one), connect(other)
    for client in (here, there):
        client.subscribe("news")
    with one.sdk_session() as sdk:
        for number in range(50):
            sdk.trigger("news", "event", number)

    here.assert_received(*range(50))
    there.assert_received(*range(50))
    publish(other, "news", "not for there", socket_id=there.socket_id)
    publish(other, "other-channel", "for nobody")
    publish(other, "news", "for both")
    here.assert_received("not for there", "for both")
    there.assert_received("for both")
    here.assert_nothing_received()


def test_client_events_and_terminations_cross_nodes(nodes, connect):
    one, other = nodes
    here, there = connect(one), connect(other)
    here.subscribe("presence-room", "ann")
    there.subscribe("presence-room", "bob")
    here.assert_received("+bob")
    here.socket.sendall(message("client-typing", channel="presence-room", data={"on": True}))
    there.assert_received({"on": True})
    here.assert_nothing_received()

    signed = SDK.authenticate_user(there.socket_id, {"id": "bob"})
    there.socket.sendall(message("pusher:signin", data=signed))
    there.read_until("pusher:signin_success")
    with one.sdk_session() as sdk:
        sdk.terminate_user_connections("bob")
    there.read_until("pusher:error")
    assert there.next().opcode == CLOSE
    here.assert_received("-bob")


def test_a_user_is_terminated_on_all_nodes(nodes, connect):
    bobs = [connect(server) for server in nodes]
    others = [connect(server) for server in nodes]
    for user_id, clients in (("bob", bobs), ("ann", others)):
        for client in clients:
            signed = SDK.authenticate_user(client.socket_id, {"id": user_id})
            client.socket.sendall(message("pusher:signin", data=signed))
            client.read_until("pusher:signin_success")
    with nodes[0].sdk_session() as sdk:
        sdk.terminate_user_connections("bob")

    for bob in bobs:
        assert bob.read() == (
            "pusher:error",
            {"code": 4009, "message": "You got disconnected by the app"},
        )
        assert (closing := bob.next()).opcode == CLOSE
        assert closing.close_code == 4009
    for other in others:
        other.assert_nothing_received()


def test_a_member_who_has_not_signed_in_is_terminated_on_all_nodes(nodes, connect):
    bobs = [connect(server) for server in nodes]
    ann = connect(nodes[0])
    ann.subscribe("presence-room", "ann")
    for bob in bobs:
        bob.subscribe("presence-room", "bob")
    ann.assert_received("+bob")
    with nodes[0].sdk_session() as sdk:
        sdk.terminate_user_connections("bob")

    for bob in bobs:
        assert bob.read_until("pusher:error")["code"] == 4009
        assert bob.next().close_code == 4009
    ann.assert_received("-bob")


def test_presence_includes_all_nodes(nodes, connect):
    one, other = nodes
    ann, bob = connect(one), connect(other)
    assert ann.subscribe("presence-room", "ann") == {"ann"}
    assert bob.subscribe("presence-room", "bob") == {"ann", "bob"}
    ann.assert_received("+bob")
    # A second connection of each user, on the other node.
    ann_too, bob_too = connect(other), connect(one)
    assert ann_too.subscribe("presence-room", "ann") == {"ann", "bob"}
    assert bob_too.subscribe("presence-room", "bob") == {"ann", "bob"}
    for server in nodes:
        assert users(server) == {"ann", "bob"}
        with server.sdk_session() as sdk:
            info = sdk.channel_info("presence-room", ["user_count", "subscription_count"])
        assert info == {"occupied": True, "user_count": 2, "subscription_count": 4}
        assert server.api_get("/channels") == {"channels": {"presence-room": {}}}
        assert server.api_get("/connections") == {"connections": 4}
    ann.socket.close()
    poll("3 connections", lambda: other.api_get("/connections") == {"connections": 3})
    bob_too.assert_nothing_received()
    ann_too.unsubscribe("presence-room")
    bob.assert_received("-ann")
    bob_too.assert_received("-ann")
    ann_too.assert_nothing_received()
    assert [users(server) for server in nodes] == [{"bob"}, {"bob"}]


def test_a_cached_event_published_on_another_node_is_delivered_once(nodes, connect):
    one, other = nodes
    publish(one, "cache-news", 1)
    with one.sdk_session() as sdk:
        for number in range(2, 40):
            sdk.trigger("cache-news", "event", number)
            client = connect(other)
            client.subscribe("cache-news")
            client.assert_received(number)
            client.assert_nothing_received()
            client.socket.close()


def test_an_event_published_after_the_confirmation_arrives(nodes, connect):
    one, other = nodes
    with one.sdk_session() as sdk:
        for number in range(40):
            client = connect(other)
            client.subscribe(f"news-{number}")
            sdk.trigger(f"news-{number}", "event", number)
            client.assert_received(number)


def test_users_of_a_node_that_is_killed_leave_once(start_node, connect):
    survivors, victim = [start_node(), start_node()], start_node()
    listeners = [connect(server) for server in survivors]
    for number, listener in enumerate(listeners):
        listener.subscribe("presence-room", f"watcher{number}")
    listeners[0].assert_received("+watcher1")
    for user in ("ann", "ann", "bob", "watcher0"):
        connect(victim).subscribe("presence-room", user)
    connect(victim).subscribe("presence-alone", "zoe")
    for listener in listeners:
        listener.assert_received("+ann", "+bob")
    assert survivors[0].api_get("/connections") == {"connections": 7}
    victim.kill()
    killed_at = time.monotonic()

    for listener in listeners:
        while len(listener.received) < 2:
            listener.read()
        assert sorted(listener.received) == ["-ann", "-bob"]
        listener.received.clear()
    assert time.monotonic() - killed_at < 2 * LEASE
    time.sleep(LEASE)
    for server, listener in zip(survivors, listeners, strict=True):
        listener.assert_nothing_received()
        assert users(server) == {"watcher0", "watcher1"}
        assert server.api_get("/connections") == {"connections": 2}
        assert server.api_get("/channels") == {"channels": {"presence-room": {}}}
    assert sum("reaped dead node" in server.log for server in survivors) == 1
