"""pusher-js: every kind of channel.

A test takes the events of a channel in order. It publishes a last event as a fence: if that event
is the next one, no unexpected event was delivered before it.
"""

from .auth import FORBIDDEN
from .javascript import Clients
from .server import APP, Server, poll


def test_events_arrive_unchanged_and_in_order(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    assert alice.subscribe("news") == {}
    payloads = [{"text": "Größe 📏 \u2028"}, [1, 2.5, None], "plain text", {}]
    for number, payload in enumerate(payloads):
        sdk.trigger("news", f"event {number}: any\\name.", payload)
    for number, payload in enumerate(payloads):
        assert alice.next("news") == [f"event {number}: any\\name.", payload]


def test_bind_global_receives_the_events_of_every_channel(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    alice.do("bind_global")
    for channel in ("news", "sport"):
        alice.subscribe(channel)
    sdk.trigger(["news", "sport"], "headline", "x")
    assert [alice.next("global") for _ in range(2)] == [["headline", "x"]] * 2


def test_no_events_arrive_after_unsubscribing(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    for channel in ("news", "sport"):
        alice.subscribe(channel)
    alice.do("bind_global")
    alice.do("unsubscribe", channel="news")
    # The server handles messages in order: after this answer it has handled the unsubscribe.
    alice.subscribe("fence")
    assert set(server.api_get("/channels")["channels"]) == {"sport", "fence"}
    sdk.trigger(["news", "sport"], "headline", "x")
    sdk.trigger("fence", "end", "x")
    assert [alice.next("global")[0] for _ in range(2)] == ["headline", "end"]


def test_the_excluded_socket_receives_no_event(server: Server, clients: Clients, sdk):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.subscribe("news")
    sdk.trigger("news", "by alice", {}, socket_id=alice.socket_id)
    sdk.trigger("news", "for all", {})
    assert bob.next("news") == ["by alice", {}]
    assert alice.next("news") == bob.next("news") == ["for all", {}]


def test_a_private_channel_with_a_signature_of_the_endpoint(server: Server, clients: Clients, sdk):
    alice = clients.pusher("alice", server)
    assert alice.subscribe("private-room") == {}
    sdk.trigger("private-room", "secret", {"a": 1})
    assert alice.next("private-room") == ["secret", {"a": 1}]


def test_a_private_channel_with_a_signature_made_in_javascript(
    server: Server, clients: Clients, sdk
):
    alice = clients.pusher("alice", server, secret=APP.secret)
    assert alice.subscribe("private-room") == {}
    sdk.trigger("private-room", "secret", 1)
    assert alice.next("private-room") == ["secret", 1]


def test_a_refusal_by_the_endpoint_is_a_subscription_error(server: Server, clients: Clients):
    alice = clients.pusher("alice", server)
    alice.do("subscribe", channel=FORBIDDEN)
    event, error = alice.next(FORBIDDEN)
    assert event == "pusher:subscription_error"
    assert (error["type"], error["status"]) == ("AuthError", 403)


def test_client_events_reach_only_the_other_subscribers(server: Server, clients: Clients, sdk):
    alice, bob, carol = (clients.pusher(name, server) for name in ("alice", "bob", "carol"))
    for client in (alice, bob, carol):
        client.subscribe("private-room")
    bob.do("bind", channel="private-room", event="client-typing")
    assert alice.do("trigger", channel="private-room", event="client-typing", data={"key": "ü"})
    for client in (bob, carol):
        assert client.next("private-room") == ["client-typing", {"key": "ü"}]
    assert bob.next("private-room/client-typing") == [{"key": "ü"}, {}]
    sdk.trigger("private-room", "fence", {})
    for client in (alice, bob, carol):
        assert client.next("private-room") == ["fence", {}]


def test_client_events_on_public_channels_are_refused(server: Server, clients: Clients, sdk):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.subscribe("room")
    alice.do("trigger", channel="room", event="client-typing", data={})
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", None)
    assert "only supported on private and presence channels" in error["data"]["message"]
    sdk.trigger("room", "fence", {})
    assert bob.next("room") == ["fence", {}]


def test_client_events_of_a_non_subscriber_are_refused(server: Server, clients: Clients, sdk):
    alice, mallory = (clients.pusher(name, server) for name in ("alice", "mallory"))
    alice.subscribe("private-room")
    mallory.do("send", event="client-typing", data={}, channel="private-room")
    _, error = mallory.next("connection")
    assert "not subscribed to channel private-room" in error["data"]["message"]
    sdk.trigger("private-room", "fence", {})
    assert alice.next("private-room") == ["fence", {}]


def test_client_events_above_the_rate_limit_are_refused(server: Server, clients: Clients, sdk):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.subscribe("private-room")
    for number in range(40):
        alice.do("trigger", channel="private-room", event="client-typing", data=number)
    event, error = alice.next("connection")
    assert (event, error["data"]["code"]) == ("error", 4301)
    assert [bob.next("private-room")[1] for _ in range(10)] == list(range(10))
    sdk.trigger("private-room", "fence", {})
    assert alice.next("private-room") == ["fence", {}]


def test_the_sdks_encrypted_event_is_decrypted_by_the_client(server: Server, clients: Clients, sdk):
    channel = "private-encrypted-room"
    alice = clients.pusher("alice", server)
    assert alice.subscribe(channel) == {}
    sdk.trigger(channel, "secret", {"text": "Größe 📏"})
    assert alice.next(channel) == ["secret", {"text": "Größe 📏"}]


def test_a_cache_channel_reports_a_miss_then_replays_the_last_event(
    server: Server, clients: Clients, sdk
):
    alice, bob = (clients.pusher(name, server) for name in ("alice", "bob"))
    alice.subscribe("cache-scores")
    assert alice.next("cache-scores") == ["pusher:cache_miss", {}]
    for score in ("1:0", "1:1"):
        sdk.trigger("cache-scores", "goal", {"score": score})
        assert alice.next("cache-scores") == ["goal", {"score": score}]
    bob.subscribe("cache-scores")
    assert bob.next("cache-scores") == ["goal", {"score": "1:1"}]
    sdk.trigger("cache-scores", "end", {})
    assert alice.next("cache-scores") == bob.next("cache-scores") == ["end", {}]


def test_a_cache_channel_replays_an_event_published_without_subscribers(
    server: Server, clients: Clients, sdk
):
    sdk.trigger("private-cache-unheard", "last", [1])
    alice = clients.pusher("alice", server)
    alice.subscribe("private-cache-unheard")
    assert alice.next("private-cache-unheard") == ["last", [1]]


def test_an_encrypted_cache_channel_replays_an_event_that_the_client_decrypts(
    server: Server, clients: Clients, sdk
):
    channel = "private-encrypted-cache-room"
    sdk.trigger(channel, "secret", {"a": 1})
    alice = clients.pusher("alice", server)
    alice.subscribe(channel)
    assert alice.next(channel) == ["secret", {"a": 1}]


def test_client_events_are_not_cached(server: Server, clients: Clients):
    channel = "private-cache-whispers"
    alice, bob, carol = (clients.pusher(name, server) for name in ("alice", "bob", "carol"))
    for client in (alice, bob):
        client.subscribe(channel)
        assert client.next(channel)[0] == "pusher:cache_miss"
    alice.do("trigger", channel=channel, event="client-a", data={})
    assert bob.next(channel) == ["client-a", {}]
    carol.subscribe(channel)
    assert carol.next(channel)[0] == "pusher:cache_miss"


def test_a_client_may_unsubscribe_before_its_subscription_is_confirmed(
    server: Server, clients: Clients
):
    alice = clients.pusher("alice", server)
    alice.do("subscribe", channel="news")
    alice.do("unsubscribe", channel="news")
    alice.subscribe("fence")
    poll(
        "only the fence is occupied",
        lambda: set(server.api_get("/channels")["channels"]) == {"fence"},
    )
