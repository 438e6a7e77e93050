"""pusher-js: sign-in, events to a user, and termination of a user's connections."""

from .javascript import Clients, PusherJs
from .server import SYSTEMD_OPTIONS, Server, poll, socket_activation


def sign_in(client: PusherJs, server: Server) -> None:
    client.do("signin")
    assert client.next("message")["event"] == "pusher:signin_success"
    wait_for_user_channel(server, client.name)


def wait_for_user_channel(server: Server, user_id: str) -> None:
    """Wait until pusher-js has subscribed to the user's channel, which it does by itself."""
    path = f"/channels/%23server-to-user-{user_id}"
    poll("the user's channel is occupied", lambda: server.api_get(path)["occupied"])


def test_signing_in_sets_the_user_id(server: Server, clients: Clients):
    alice = clients.pusher("alice", server)
    assert alice.do("user_id") is None
    sign_in(alice, server)
    assert alice.do("user_id") == "alice"


def test_events_to_a_user_reach_only_that_user(server: Server, clients: Clients, sdk):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        sign_in(client, server)
    alice.do("user_bind", event="notice")
    sdk.send_to_user("alice", "notice", {"text": "hello"})
    sdk.send_to_user("bob", "other", [2])
    assert alice.next("user") == ["notice", {"text": "hello"}]
    assert alice.next("user/notice") == {"text": "hello"}
    assert bob.next("user") == ["other", [2]]


def test_a_user_may_not_subscribe_to_another_users_channel(server: Server, clients: Clients, sdk):
    mallory = clients.pusher("mallory", server)
    sign_in(mallory, server)
    mallory.do("send", event="pusher:subscribe", data={"channel": "#server-to-user-alice"})
    event, error = mallory.next("connection")
    assert event == "error"
    assert "not signed in as this user" in error["data"]["message"]
    assert server.api_get("/channels/%23server-to-user-alice") == {"occupied": False}


def test_a_forged_sign_in_is_refused(server: Server, clients: Clients):
    mallory = clients.pusher("mallory", server)
    data = {"auth": f"e2e-key:{'0' * 64}", "user_data": '{"id":"alice"}'}
    mallory.do("send", event="pusher:signin", data=data)
    event, error = mallory.next("connection")
    assert event == "error"
    assert error["data"]["message"].startswith("Invalid signature")
    assert mallory.do("user_id") is None


def test_a_users_connections_can_be_terminated(server: Server, clients: Clients, sdk):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        sign_in(client, server)
    assert sdk.terminate_user_connections("alice") == {}
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4009)
    items = iter(lambda: alice.next("connection"), ["state", "disconnected"])
    assert all(item[0] == "error" for item in items)
    assert alice.do("idle")
    sdk.send_to_user("bob", "still", "here")
    assert bob.next("user") == ["still", "here"]


def test_a_user_is_signed_in_again_after_a_reconnect(
    start_server, clients: Clients, listening_socket
):
    first = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    alice = clients.pusher("alice", first)
    sign_in(alice, first)
    first.stop()
    second = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    assert alice.next("message")["event"] == "pusher:error"
    assert alice.next("message")["event"] == "pusher:signin_success"
    wait_for_user_channel(second, "alice")
    with second.sdk_session() as sdk:
        sdk.send_to_user("alice", "welcome", "back")
    assert alice.next("user") == ["welcome", "back"]
