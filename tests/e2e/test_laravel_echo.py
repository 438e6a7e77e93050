"""Laravel Echo, with its two broadcasters that speak the Pusher protocol."""

import pytest

from .javascript import Clients
from .server import Server, poll


@pytest.fixture(params=["reverb", "pusher"])
def broadcaster(request: pytest.FixtureRequest) -> str:
    return request.param


def test_namespaced_events_arrive(server: Server, clients: Clients, sdk, broadcaster):
    echo = clients.echo("alice", server, broadcaster)
    echo.open("channel", "orders")
    short = echo.listen("channel", "orders", "listen", "OrderShipped")
    full = echo.listen("channel", "orders", "listen", ".App\\Models\\Order.Paid")
    sdk.trigger("orders", "App\\Events\\OrderShipped", {"id": 1})
    sdk.trigger("orders", "App\\Models\\Order.Paid", {"id": 2})
    assert echo.next(short) == {"id": 1}
    assert echo.next(full) == {"id": 2}


def test_private_events_and_notifications_arrive(
    server: Server, clients: Clients, sdk, broadcaster
):
    echo = clients.echo("alice", server, broadcaster)
    echo.open("private", "user.1")
    events = echo.listen("private", "user.1", "listen", "Happened")
    notices = echo.listen("private", "user.1", "notification")
    sdk.trigger("private-user.1", "App\\Events\\Happened", {"a": 1})
    created = "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated"
    sdk.trigger("private-user.1", created, {"type": "App\\Notifications\\Paid"})
    assert echo.next(events) == {"a": 1}
    assert echo.next(notices) == {"type": "App\\Notifications\\Paid"}


def test_a_refused_private_channel_calls_error(server: Server, clients: Clients, broadcaster):
    echo = clients.echo("alice", server, broadcaster)
    error = echo.next(echo.listen("private", "forbidden", "error"))
    assert (error["type"], error["status"]) == ("AuthError", 403)


def test_a_channel_that_the_server_refuses_calls_error(
    server: Server, clients: Clients, broadcaster
):
    echo = clients.echo("alice", server, broadcaster)
    error = echo.next(echo.listen("channel", "not a name", "error"))
    assert error["type"] == "SubscriptionError"
    assert error["error"].startswith("Invalid channel name 'not a name'")


def test_here_joining_and_leaving_receive_the_members(
    server: Server, clients: Clients, broadcaster
):
    alice, bob = (clients.echo(name, server, broadcaster) for name in ("alice", "bob"))
    here, joining, leaving = (
        alice.listen("join", "room", how) for how in ("here", "joining", "leaving")
    )
    assert alice.next(here) == [{"name": "Alice"}]
    assert bob.next(bob.listen("join", "room", "here")) == [{"name": "Alice"}, {"name": "Bob"}]
    assert alice.next(joining) == {"name": "Bob"}
    bob.do("leave", channel="room")
    assert alice.next(leaving) == {"name": "Bob"}


@pytest.mark.parametrize("kind", ["private", "join"])
def test_whispers_reach_only_the_other_subscribers(
    server: Server, clients: Clients, sdk, broadcaster, kind
):
    alice, bob = (clients.echo(name, server, broadcaster) for name in ("alice", "bob"))
    for echo in (alice, bob):
        echo.open(kind, "room")
        queue = echo.listen(kind, "room", "listenForWhisper", "typing")
    alice.do("whisper", kind=kind, channel="room", event="typing", data={"name": "Alice"})
    assert bob.next(queue) == {"name": "Alice"}
    bob.do("whisper", kind=kind, channel="room", event="typing", data={"name": "Bob"})
    assert alice.next(queue) == {"name": "Bob"}


def test_a_whisper_without_data_arrives(server: Server, clients: Clients, broadcaster):
    alice, bob = (clients.echo(name, server, broadcaster) for name in ("alice", "bob"))
    for echo in (alice, bob):
        echo.open("private", "room")
        queue = echo.listen("private", "room", "listenForWhisper", "typing")
    alice.do("whisper", kind="private", channel="room", event="typing")
    assert bob.next(queue) is None


def test_encrypted_private_channels_are_decrypted(
    server: Server, clients: Clients, sdk, broadcaster
):
    echo = clients.echo("alice", server, broadcaster)
    echo.open("encryptedPrivate", "safe")
    queue = echo.listen("encryptedPrivate", "safe", "listen", "Opened")
    sdk.trigger("private-encrypted-safe", "App\\Events\\Opened", {"by": "Alice"})
    assert echo.next(queue) == {"by": "Alice"}


def test_to_others_excludes_the_sender(server: Server, clients: Clients, sdk, broadcaster):
    alice, bob = (clients.echo(name, server, broadcaster) for name in ("alice", "bob"))
    for echo in (alice, bob):
        echo.open("channel", "orders")
        queue = echo.listen("channel", "orders", "listen", "Shipped")
    sdk.trigger("orders", "App\\Events\\Shipped", 1, socket_id=alice.do("echo_socket_id"))
    sdk.trigger("orders", "App\\Events\\Shipped", 2)
    assert [bob.next(queue), bob.next(queue)] == [1, 2]
    assert alice.next(queue) == 2


def test_leaving_ends_every_variant_of_the_channel(server: Server, clients: Clients, broadcaster):
    echo = clients.echo("alice", server, broadcaster)
    for kind in ("channel", "private", "join", "encryptedPrivate"):
        echo.open(kind, "room")
    names = {"room", "private-room", "presence-room", "private-encrypted-room"}
    assert set(server.api_get("/channels")["channels"]) == names
    echo.do("leave", channel="room")
    poll("no channels are left", lambda: server.api_get("/channels") == {"channels": {}})
    assert server.api_get("/connections") == {"connections": 1}
