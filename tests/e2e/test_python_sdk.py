"""Pusher's Python SDK: all of its calls."""

import json
from collections.abc import Iterator

import pusher
import pytest
from pusher.errors import PusherBadAuth, PusherBadRequest, PusherBadStatus

from .raw_websocket import RawWebSocket, message
from .server import APP, Server


class Subscriber(RawWebSocket):
    """A client whose subscriptions and sign-ins the SDK signs."""

    def __init__(self, server: Server, sdk: pusher.Pusher) -> None:
        super().__init__(server.connect())
        self.sdk = sdk
        self.socket_id = self.expect("pusher:connection_established")["socket_id"]

    def subscribe(self, channel: str, member: dict | None = None):
        signed = {}
        if channel.startswith(("private-", "presence-")):
            signed = self.sdk.authenticate(channel, self.socket_id, member)
            signed.pop("shared_secret", None)
        self.socket.sendall(message("pusher:subscribe", data={"channel": channel, **signed}))
        return self.expect("pusher_internal:subscription_succeeded")

    def sign_in(self, user_id: str) -> None:
        data = self.sdk.authenticate_user(self.socket_id, {"id": user_id, "watchlist": []})
        self.socket.sendall(message("pusher:signin", data=data))
        self.expect("pusher:signin_success")
        self.subscribe(f"#server-to-user-{user_id}")

    def event(self) -> tuple[str, str, object]:
        """Wait for the next event; return its channel, its name and its data."""
        received = self.next().message
        return received["channel"], received["event"], received["data"]


@pytest.fixture
def alice(server: Server, sdk: pusher.Pusher) -> Iterator[Subscriber]:
    with Subscriber(server, sdk) as subscriber:
        yield subscriber


@pytest.fixture
def bob(server: Server, sdk: pusher.Pusher) -> Iterator[Subscriber]:
    with Subscriber(server, sdk) as subscriber:
        yield subscriber


def test_trigger_on_one_channel(sdk, alice: Subscriber):
    alice.subscribe("news")
    assert sdk.trigger("news", "headline", {"text": "Größe"}) == {}
    assert alice.event() == ("news", "headline", {"text": "Größe"})


def test_trigger_on_a_hundred_channels(sdk, alice: Subscriber):
    names = [f"news-{number}" for number in range(100)]
    for name in names:
        alice.subscribe(name)
    assert sdk.trigger(names, "headline", "1") == {}
    assert sorted(alice.event() for _ in names) == sorted((name, "headline", 1) for name in names)


def test_trigger_excludes_a_socket(sdk, alice: Subscriber, bob: Subscriber):
    for subscriber in (alice, bob):
        subscriber.subscribe("news")
    sdk.trigger("news", "first", [], socket_id=alice.socket_id)
    sdk.trigger("news", "second", [])
    assert alice.event() == ("news", "second", [])
    assert [bob.event()[1], bob.event()[1]] == ["first", "second"]


def test_trigger_encrypts_events_of_encrypted_channels(sdk, alice: Subscriber):
    alice.subscribe("private-encrypted-safe")
    sdk.trigger("private-encrypted-safe", "secret", {"text": "hello"})
    channel, event, data = alice.event()
    assert (channel, event) == ("private-encrypted-safe", "secret")
    assert set(data) == {"nonce", "ciphertext"}


def test_trigger_batch(sdk, alice: Subscriber, bob: Subscriber):
    for subscriber in (alice, bob):
        subscriber.subscribe("news")
    bob.subscribe("sport")
    batch = [
        {"channel": "news", "name": "a", "data": {"x": 1}, "socket_id": alice.socket_id},
        {"channel": "sport", "name": "b", "data": "2"},
        {"channel": "news", "name": "c", "data": [3]},
    ]
    assert sdk.trigger_batch(batch) == {}
    assert alice.event() == ("news", "c", [3])
    expected = [("news", "a", {"x": 1}), ("sport", "b", 2), ("news", "c", [3])]
    assert sorted((bob.event() for _ in expected), key=str) == sorted(expected, key=str)


def test_trigger_batch_of_encoded_data(sdk, alice: Subscriber):
    alice.subscribe("news")
    batch = [{"channel": "news", "name": "a", "data": json.dumps({"x": 1})}]
    sdk.trigger_batch(batch, already_encoded=True)
    assert alice.event() == ("news", "a", {"x": 1})


def test_a_batch_that_is_too_large_is_refused(sdk):
    batch = [{"channel": "news", "name": "a", "data": "x"} for _ in range(11)]
    with pytest.raises(PusherBadRequest, match="Batch too large"):
        sdk.trigger_batch(batch)


def test_too_much_data_is_refused(sdk):
    with pytest.raises(PusherBadStatus, match=r"413: .*10240 bytes"):
        sdk.trigger("news", "headline", "x" * 10_241)


def test_a_wrong_secret_is_refused(server: Server):
    with (
        server.sdk_session(APP._replace(secret="wrong")) as sdk,
        pytest.raises(PusherBadAuth, match="Invalid signature"),
    ):
        sdk.trigger("news", "headline", {})


def test_a_wrong_key_is_refused(server: Server):
    with (
        server.sdk_session(APP._replace(key="wrong")) as sdk,
        pytest.raises((PusherBadAuth, PusherBadRequest), match="auth_key"),
    ):
        sdk.trigger("news", "headline", {})


def test_channels_info(sdk, alice: Subscriber):
    assert sdk.channels_info() == {"channels": {}}
    alice.subscribe("news")
    alice.subscribe("presence-room", {"user_id": "1"})
    assert sdk.channels_info() == {"channels": {"news": {}, "presence-room": {}}}
    assert sdk.channels_info("ne") == {"channels": {"news": {}}}
    assert sdk.channels_info("presence-", ["user_count"]) == {
        "channels": {"presence-room": {"user_count": 1}}
    }
    with pytest.raises(PusherBadRequest, match="user_count may only be requested"):
        sdk.channels_info(attributes=["user_count"])


def test_channel_info(sdk, alice: Subscriber, bob: Subscriber):
    assert sdk.channel_info("presence-room") == {"occupied": False}
    alice.subscribe("presence-room", {"user_id": "1"})
    bob.subscribe("presence-room", {"user_id": "1"})
    assert sdk.channel_info("presence-room") == {"occupied": True}
    assert sdk.channel_info("presence-room", ["user_count", "subscription_count"]) == {
        "occupied": True,
        "user_count": 1,
        "subscription_count": 2,
    }
    with pytest.raises(PusherBadRequest, match="presence channel"):
        sdk.channel_info("news", ["user_count"])


def test_channel_info_of_a_cache_channel(sdk):
    assert sdk.channel_info("cache-empty", ["cache"]) == {"occupied": False, "cache": None}
    sdk.trigger("cache-full", "last", {"a": 1})
    cache = sdk.channel_info("cache-full", ["cache"])["cache"]
    assert json.loads(cache["data"]) == {"a": 1}
    assert 0 < cache["ttl"] <= 1800


def test_users_info(sdk, alice: Subscriber, bob: Subscriber):
    assert sdk.users_info("presence-room") == {"users": []}
    alice.subscribe("presence-room", {"user_id": "alice", "user_info": {"a": 1}})
    bob.subscribe("presence-room", {"user_id": 7})
    users = sdk.users_info("presence-room")["users"]
    assert sorted(user["id"] for user in users) == ["7", "alice"]


def test_authenticate_signs_what_the_server_accepts(sdk, alice: Subscriber):
    assert alice.subscribe("private-room") == {}
    assert alice.subscribe("private-encrypted-room") == {}
    # The signature covers the exact JSON text, which the SDK formats in its own way.
    member = {"user_id": "ä/1", "user_info": {"name": "Ö / \\ 📏"}}
    assert alice.subscribe("presence-room", member) == {
        "presence": {"count": 1, "ids": ["ä/1"], "hash": {"ä/1": {"name": "Ö / \\ 📏"}}}
    }


def test_authenticate_user_and_send_to_user(sdk, alice: Subscriber, bob: Subscriber):
    alice.sign_in("alice")
    bob.sign_in("bob")
    assert sdk.send_to_user("bob", "notice", {"for": "bob"}) == {}
    assert sdk.send_to_user("alice", "notice", {"for": "alice"}) == {}
    assert alice.event() == ("#server-to-user-alice", "notice", {"for": "alice"})
    assert bob.event() == ("#server-to-user-bob", "notice", {"for": "bob"})


def test_terminate_user_connections(sdk, alice: Subscriber, bob: Subscriber):
    alice.sign_in("alice")
    bob.sign_in("bob")
    assert sdk.terminate_user_connections("alice") == {}
    assert alice.expect("pusher:error")["code"] == 4009
    assert alice.next().close_code == 4009
    sdk.send_to_user("bob", "still", [])
    assert bob.event()[1] == "still"
