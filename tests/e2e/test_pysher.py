"""Pysher, a third-party WebSocket client in Python."""

import json
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pysher
import pytest

from .server import APP, TIMEOUT, Server

Connect = Callable[..., "Client"]


class Client(pysher.Pusher):
    """Pysher, with queues in place of callbacks."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(
            key=APP.key,
            secret=APP.secret,
            custom_host="127.0.0.1",
            port=server.port,
            secure=False,
            **options,
        )
        self.received: dict[str, queue.Queue[Any]] = {}
        self.listen(self.connection, "pusher:connection_established")
        self.connect()
        self.next("pusher:connection_established")

    def close(self) -> None:
        """Close the connection and wait; Pysher's disconnect() may block its thread for 100 s."""
        self.connection.disconnect_called = True
        websocket = self.connection.socket.sock
        with websocket.sock:  # Pysher's thread does not close it.
            websocket.send_close()
            self.connection.join(TIMEOUT)
        assert not self.connection.is_alive()

    def listen(self, source: Any, event: str) -> None:
        events = self.received[event] = queue.Queue()
        source.bind(event, events.put)

    def next(self, event: str) -> Any:
        return json.loads(self.received[event].get(timeout=TIMEOUT))

    def join(self, channel: str, *events: str) -> Any:
        """Subscribe, listen to events, and return the data of the confirmation."""
        # The confirmation may arrive before a callback can be bound to the channel.
        confirmed = self.received["succeeded"] = queue.Queue()
        handle = self._connection_handler

        def handler(event: str, data: str, name: str) -> None:
            if event == "pusher_internal:subscription_succeeded" and name == channel:
                confirmed.put(data)
            handle(event, data, name)

        self.connection.event_handler = handler
        subscribed = self.subscribe(channel)
        for event in events:
            self.listen(subscribed, event)
        return self.next("succeeded")


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    clients: list[Client] = []

    def connect_client(**options: Any) -> Client:
        clients.append(Client(server, **options))
        return clients[-1]

    yield connect_client
    for client in clients:
        client.close()


def test_it_receives_events_of_a_public_channel(connect: Connect, sdk):
    client = connect()
    assert client.join("news", "headline") == {}
    sdk.trigger("news", "headline", {"text": "hello"})
    assert client.next("headline") == {"text": "hello"}


def test_it_signs_for_a_private_channel(connect: Connect, sdk):
    client = connect()
    assert client.join("private-room", "secret") == {}
    sdk.trigger("private-room", "secret", [1])
    assert client.next("secret") == [1]


def test_it_is_a_member_and_sees_others_join_and_leave(connect: Connect):
    alice = connect(user_data={"user_id": "alice", "user_info": {"name": "Alice"}})
    events = ("pusher_internal:member_added", "pusher_internal:member_removed")
    assert alice.join("presence-room", *events)["presence"]["ids"] == ["alice"]
    bob = connect(user_data={"user_id": "bob"})
    assert bob.join("presence-room")["presence"]["count"] == 2
    assert alice.next("pusher_internal:member_added") == {"user_id": "bob", "user_info": {}}
    bob.unsubscribe("presence-room")
    assert alice.next("pusher_internal:member_removed") == {"user_id": "bob"}


def test_it_sends_client_events(connect: Connect):
    alice, bob = connect(), connect()
    alice.join("private-room", "client-hello")
    bob.join("private-room", "client-hello")
    bob.channel("private-room").trigger("client-hello", {"from": "bob"})
    assert alice.next("client-hello") == {"from": "bob"}
    alice.channel("private-room").trigger("client-hello", {"from": "alice"})
    assert bob.next("client-hello") == {"from": "alice"}


def test_its_pings_are_answered(connect: Connect):
    client = connect()
    # Pysher sends a ping when it connects, with an empty string as its data.
    client.listen(client.connection, "pusher:pong")
    client.connection.send_ping()
    assert client.next("pusher:pong") == {}
