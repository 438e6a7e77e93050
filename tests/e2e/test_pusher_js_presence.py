"""pusher-js: presence channels."""

from .auth import SDK
from .javascript import Clients
from .server import Server, poll

CHANNEL = "presence-room"
ALICE = {"id": "alice", "info": {"name": "Alice"}}
BOB = {"id": "bob", "info": {"name": "Bob"}}


def test_members_see_each_other_join_and_leave(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    members = alice.subscribe(CHANNEL)
    assert members["members"] == {"alice": {"name": "Alice"}}
    assert (members["count"], members["me"]) == (1, ALICE)
    bob = clients.pusher("bob", server)
    members = bob.subscribe(CHANNEL)
    assert members["members"] == {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}}
    assert (members["count"], members["me"]) == (2, BOB)
    assert alice.next(CHANNEL) == ["pusher:member_added", BOB]
    assert sdk.users_info(CHANNEL) == {"users": [{"id": "alice"}, {"id": "bob"}]}
    bob.do("unsubscribe", channel=CHANNEL)
    assert alice.next(CHANNEL) == ["pusher:member_removed", BOB]
    assert alice.do("members", channel=CHANNEL)["count"] == 1


def test_a_member_that_disconnects_is_removed(server: Server, clients: Clients):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.subscribe(CHANNEL)
    assert alice.next(CHANNEL) == ["pusher:member_added", BOB]
    bob.do("disconnect")
    assert alice.next(CHANNEL) == ["pusher:member_removed", BOB]


def test_a_users_second_connection_adds_no_member(server: Server, clients: Clients, sdk):
    alice, bob, again = (clients.pusher(name, server) for name in ("alice", "bob", "bob#2"))
    for client in (alice, bob):
        client.subscribe(CHANNEL)
    assert alice.next(CHANNEL) == ["pusher:member_added", BOB]
    assert again.subscribe(CHANNEL)["count"] == 2
    again.do("unsubscribe", channel=CHANNEL)
    again.subscribe("fence")
    sdk.trigger(CHANNEL, "still two", {})
    assert alice.next(CHANNEL) == bob.next(CHANNEL) == ["still two", {}]
    bob.do("disconnect")
    assert alice.next(CHANNEL)[0] == "pusher:member_removed"


def test_client_events_name_the_member_that_sent_them(server: Server, clients: Clients):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.subscribe(CHANNEL)
        client.do("bind", channel=CHANNEL, event="client-typing")
    alice.do("trigger", channel=CHANNEL, event="client-typing", data={"a": 1})
    assert bob.next(f"{CHANNEL}/client-typing") == [{"a": 1}, {"user_id": "alice"}]


def test_server_events_name_no_member(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    alice.subscribe(CHANNEL)
    alice.do("bind", channel=CHANNEL, event="news")
    sdk.trigger(CHANNEL, "news", {})
    assert alice.next(f"{CHANNEL}/news") == [{}, {}]


def test_a_presence_cache_channel_sends_the_members_then_the_last_event(
    server: Server, clients: Clients, sdk
):
    sdk.trigger("presence-cache-room", "topic", "tea")
    alice = clients.pusher("alice", server)
    assert alice.subscribe("presence-cache-room")["count"] == 1
    assert alice.next("presence-cache-room") == ["topic", "tea"]


def test_a_signed_in_user_joins_as_that_user(server: Server, clients: Clients):
    alice = clients.pusher("alice", server)
    alice.do("signin")
    assert alice.next("message")["event"] == "pusher:signin_success"
    signed = SDK.authenticate(CHANNEL, alice.socket_id)
    assert "channel_data" not in signed
    alice.do("send", event="pusher:subscribe", data={"channel": CHANNEL, **signed})
    poll("the channel is occupied", lambda: CHANNEL in server.api_get("/channels")["channels"])
    members = clients.pusher("bob", server).subscribe(CHANNEL)["members"]
    assert members == {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}}
