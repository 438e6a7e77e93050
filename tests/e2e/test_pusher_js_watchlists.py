"""pusher-js: which users on a watchlist are online."""

import pytest

from .javascript import Clients, PusherJs, auth_options
from .server import APP_OPTIONS, Server


@pytest.fixture
def server(start_server, tmp_path) -> Server:
    config = tmp_path / "reverb.toml"
    config.write_text("[app_defaults]\nwatchlists = true\n")
    return start_server("--port", "0", "--config", str(config), *APP_OPTIONS)


def sign_in(clients: Clients, name: str, server: Server, *watchlist: str) -> PusherJs:
    """Connect a client and sign it in; the user id is its name without a ``#`` and what follows."""
    authentication = auth_options(name, clients.auth)["userAuthentication"]
    if watchlist:
        authentication["params"]["watchlist"] = ",".join(watchlist)
    client = clients.pusher(name, server, userAuthentication=authentication)
    client.do("watch")
    client.do("signin")
    assert client.next("message")["event"] == "pusher:signin_success"
    return client


def test_a_watcher_receives_the_state_of_all_users_then_each_change(server, clients: Clients):
    sign_in(clients, "bob", server)
    alice = sign_in(clients, "alice", server, "bob", "carol", "dan")
    assert alice.next("watchlist") == ["online", ["bob"]]
    assert alice.next("watchlist") == ["offline", ["carol", "dan"]]
    carol, second = sign_in(clients, "carol", server), sign_in(clients, "carol#2", server)
    assert alice.next("watchlist") == ["online", ["carol"]]
    carol.do("disconnect")
    dan = sign_in(clients, "dan", server)
    assert alice.next("watchlist") == ["online", ["dan"]]
    second.do("disconnect")
    assert alice.next("watchlist") == ["offline", ["carol"]]
    dan.do("disconnect")
    assert alice.next("watchlist") == ["offline", ["dan"]]


def test_two_users_watch_each_other(server, clients: Clients):
    alice = sign_in(clients, "alice", server, "bob")
    assert alice.next("watchlist") == ["offline", ["bob"]]
    bob = sign_in(clients, "bob", server, "alice", "bob")
    assert bob.next("watchlist") == ["online", ["alice", "bob"]]
    assert alice.next("watchlist") == ["online", ["bob"]]


def test_only_the_first_hundred_users_of_a_long_watchlist_are_watched(server, clients: Clients):
    friends = [f"friend{number}" for number in range(101)]
    alice = sign_in(clients, "alice", server, *friends)
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4302)
    assert alice.next("watchlist") == ["offline", friends[:100]]
    assert alice.do("user_id") == "alice"


def test_a_watcher_that_reconnects_receives_the_current_state(
    start_server, server, clients: Clients
):
    alice = sign_in(clients, "alice", server, "bob")
    assert alice.next("watchlist") == ["offline", ["bob"]]
    alice.do("disconnect")
    sign_in(clients, "bob", server)
    again = sign_in(clients, "alice#2", server, "bob")
    assert again.next("watchlist") == ["online", ["bob"]]
