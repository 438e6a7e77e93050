"""pusher-js: who of one's watchlist is online."""

import pytest
from e2e_node import Clients, PusherJs, auth_options
from e2e_server import AS_APP, Server


@pytest.fixture
def server(start_server, tmp_path) -> Server:
    config = tmp_path / "reverb.toml"
    config.write_text("[app_defaults]\nwatchlists = true\n")
    return start_server("--port", "0", "--config", str(config), *AS_APP)


def sign_in(clients: Clients, name: str, server: Server, *watchlist: str) -> PusherJs:
    """Connect a client and sign it in; what follows a ``#`` in its name is not the user's."""
    asking = auth_options(name, clients.auth)["userAuthentication"]
    if watchlist:
        asking["params"]["watchlist"] = ",".join(watchlist)
    client = clients.pusher(name, server, userAuthentication=asking)
    client.do("watch")
    client.do("signin")
    assert client.next("message")["event"] == "pusher:signin_success"
    return client


def test_one_is_told_of_everybody_on_it_and_then_who_comes_and_goes(server, clients: Clients):
    sign_in(clients, "bob", server)
    alice = sign_in(clients, "alice", server, "bob", "carol", "dan")
    assert alice.next("watchlist") == ["online", ["bob"]]
    assert alice.next("watchlist") == ["offline", ["carol", "dan"]]
    carol, too = sign_in(clients, "carol", server), sign_in(clients, "carol#2", server)
    assert alice.next("watchlist") == ["online", ["carol"]]
    carol.do("disconnect")
    dan = sign_in(clients, "dan", server)
    assert alice.next("watchlist") == ["online", ["dan"]]
    too.do("disconnect")
    assert alice.next("watchlist") == ["offline", ["carol"]]
    dan.do("disconnect")
    assert alice.next("watchlist") == ["offline", ["dan"]]


def test_both_friends_see_each_other(server, clients: Clients):
    alice = sign_in(clients, "alice", server, "bob")
    assert alice.next("watchlist") == ["offline", ["bob"]]
    bob = sign_in(clients, "bob", server, "alice", "bob")
    assert bob.next("watchlist") == ["online", ["alice", "bob"]]
    assert alice.next("watchlist") == ["online", ["bob"]]


def test_of_a_long_list_the_first_hundred_are_watched(server, clients: Clients):
    friends = [f"friend{number}" for number in range(101)]
    alice = sign_in(clients, "alice", server, *friends)
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4302)
    assert alice.next("watchlist") == ["offline", friends[:100]]
    assert alice.do("user_id") == "alice"


def test_a_watcher_that_comes_back_is_told_anew(start_server, server, clients: Clients):
    alice = sign_in(clients, "alice", server, "bob")
    assert alice.next("watchlist") == ["offline", ["bob"]]
    alice.do("disconnect")
    sign_in(clients, "bob", server)
    again = sign_in(clients, "alice#2", server, "bob")
    assert again.next("watchlist") == ["online", ["bob"]]
