"""pusher-js: connecting, staying connected and reconnecting."""

import time

from .javascript import Clients
from .server import APP, APP_OPTIONS, SYSTEMD_OPTIONS, Server, poll, socket_activation

MALFORMED = "Auth value for subscription to private-a is invalid"


def test_it_connects_and_has_a_socket_id(server: Server, clients: Clients):
    alice = clients.pusher("alice", server, wait=False)
    assert alice.next("connection") == ["state", "connected"]
    left, dot, right = alice.socket_id.partition(".")
    assert (left.isdigit(), dot, right.isdigit()) == (True, ".", True)
    assert server.api_get("/connections") == {"connections": 1}


def test_both_sides_notice_a_disconnect(server: Server, clients: Clients):
    alice = clients.pusher("alice", server)
    socket_id = alice.socket_id
    alice.do("disconnect")
    assert alice.next("connection") == ["state", "disconnected"]
    poll("the disconnect is logged", lambda: f"disconnected {socket_id}" in server.log)
    server.check_empty()


def test_a_wrong_key_is_reported_and_the_client_gives_up(server: Server, clients: Clients):
    mallory = clients.pusher("mallory", server, key="no-such-key", wait=False)
    event, error = mallory.next("connection")
    assert event == "error"
    assert error["error"]["data"]["code"] == 4001
    assert "no-such-key" in error["error"]["data"]["message"]
    assert mallory.next("connection") == ["state", "disconnected"]
    assert mallory.do("idle")


def test_a_wrong_path_is_reported_and_the_client_gives_up(server: Server, clients: Clients):
    lost = clients.pusher("lost", server, wsPath="/elsewhere", wait=False)
    event, error = lost.next("connection")
    assert (event, error["error"]["data"]["code"]) == ("error", 4005)
    assert lost.next("connection") == ["state", "disconnected"]
    assert lost.do("idle")


def test_it_connects_below_a_prefix(start_server, clients: Clients):
    server = start_server("--port", "0", "--path", "/realtime", *APP_OPTIONS, prefix="/realtime")
    alice = clients.pusher("alice", server)
    alice.subscribe("private-room")
    assert server.api_get("/channels") == {"channels": {"private-room": {}}}


def test_a_client_not_authorized_in_time_is_disconnected(start_server, clients: Clients, tmp_path):
    config = tmp_path / "reverb.toml"
    config.write_text("[app_defaults]\nauthorization_timeout = 6\n")
    server = start_server("--port", "0", "--config", str(config), *APP_OPTIONS)
    alice, bob, mallory = (clients.pusher(name, server) for name in ("alice", "bob", "mallory"))
    alice.subscribe("private-encrypted-room")
    bob.do("signin")
    assert bob.next("message")["event"] == "pusher:signin_success"
    mallory.subscribe("news")

    event, error = mallory.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4009)
    assert error["data"]["message"] == "Connection not authorized within timeout"
    items = iter(lambda: mallory.next("connection"), ["state", "disconnected"])
    assert all(item[0] == "error" for item in items)
    assert mallory.do("idle")
    time.sleep(2)  # By now the timeout of the other clients has passed, too.
    assert server.api_get("/connections") == {"connections": 2}
    assert not alice.do("idle")
    assert not bob.do("idle")


def test_pings_of_a_silent_client_are_answered(server: Server, clients: Clients):
    alice = clients.pusher("alice", server, activityTimeout=50, pongTimeout=10_000)
    pongs = [alice.next("message") for _ in range(3)]
    assert [pong["event"] for pong in pongs] == ["pusher:pong"] * 3
    assert not alice.do("idle")


def test_errors_reach_the_connection_and_leave_it_open(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    alice.do("send", event="pusher:subscribe", data={"channel": "private-a", "auth": "nonsense"})
    event, error = alice.next("connection")
    assert event == "error"
    assert error["type"] == "PusherError"
    assert error["data"]["code"] is None
    assert error["data"]["message"].startswith(MALFORMED)
    alice.subscribe("room")
    sdk.trigger("room", "still", "here")
    assert alice.next("room") == ["still", "here"]


def test_the_error_for_a_wrong_signature_names_the_text_to_sign(server: Server, clients: Clients):
    mallory = clients.pusher("mallory", server)
    auth = f"{APP.key}:{'0' * 64}"
    mallory.do("send", event="pusher:subscribe", data={"channel": "private-a", "auth": auth})
    _, error = mallory.next("connection")
    assert (
        f"Invalid signature: Expected HMAC SHA256 hex digest of {mallory.socket_id}:private-a"
        in (error["data"]["message"])
    )
    assert server.api_get("/channels") == {"channels": {}}


def test_it_reconnects_and_resubscribes_after_a_restart(
    start_server, clients: Clients, listening_socket
):
    # The socket stays open during the restart: pusher-js waits 15 s after a refused connection.
    first = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    alice = clients.pusher("alice", first)
    old_id = alice.socket_id
    for channel in ("room", "private-room"):
        alice.subscribe(channel)
    first.stop()
    second = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4200)
    items = list(iter(lambda: alice.next("connection"), ["state", "connected"]))
    assert items[-1] == ["state", "connecting"]
    assert alice.socket_id != old_id
    with second.sdk_session() as sdk:
        for channel in ("room", "private-room"):
            assert alice.next(channel) == ["pusher:subscription_succeeded", {}]
            sdk.trigger(channel, "back", {})
            assert alice.next(channel) == ["back", {}]


def test_apps_are_isolated(start_server, clients: Clients, tmp_path):
    config = tmp_path / "reverb.toml"
    apps = [APP, APP._replace(id="1002", key="other-key", secret="other-secret")]
    tables = [f'[[apps]]\nid = "{a.id}"\nkey = "{a.key}"\nsecret = "{a.secret}"\n' for a in apps]
    config.write_text("port = 0\n" + "".join(tables))
    server = start_server("--config", str(config), apps=tuple(apps))
    one = clients.pusher("one", server, key=apps[0].key)
    two = clients.pusher("two", server, key=apps[1].key)
    for client in (one, two):
        client.subscribe("room")
    for app in apps:
        with server.sdk_session(app) as sdk:
            sdk.trigger("room", "for", {"app": app.id})
            sdk.trigger("room", "fence", {})
    for app, client in zip(apps, (one, two), strict=True):
        assert client.next("room") == ["for", {"app": app.id}]
        assert client.next("room") == ["fence", {}]
