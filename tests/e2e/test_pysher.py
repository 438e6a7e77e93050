"""Pysher, a WebSocket client in Python that others wrote."""

import json
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pysher
import pytest
from e2e_server import APP, BOUND, Server

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
        self.heard: dict[str, queue.Queue[Any]] = {}
        self.hear(self.connection, "pusher:connection_established")
        self.connect()
        self.next("pusher:connection_established")

    def leave(self) -> None:
        """Close and wait; Pysher's disconnect() may leave its thread waiting for 100 s."""
        self.connection.disconnect_called = True
        websocket = self.connection.socket.sock
        with websocket.sock:  # Its thread leaves it open.
            websocket.send_close()
            self.connection.join(BOUND)
        assert not self.connection.is_alive()

    def hear(self, where: Any, event: str) -> None:
        heard = self.heard[event] = queue.Queue()
        where.bind(event, heard.put)

    def next(self, event: str) -> Any:
        return json.loads(self.heard[event].get(timeout=BOUND))

    def join(self, channel: str, *events: str) -> Any:
        """Subscribe and return what came with the confirmation, then hear events."""
        # It may be quicker than anything that is bound after subscribing.
        confirmed = self.heard["succeeded"] = queue.Queue()
        handle = self._connection_handler

        def handler(event: str, data: str, name: str) -> None:
            if event == "pusher_internal:subscription_succeeded" and name == channel:
                confirmed.put(data)
            handle(event, data, name)

        self.connection.event_handler = handler
        subscribed = self.subscribe(channel)
        for event in events:
            self.hear(subscribed, event)
        return self.next("succeeded")


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    clients: list[Client] = []

    def start(**options: Any) -> Client:
        clients.append(Client(server, **options))
        return clients[-1]

    yield start
    for client in clients:
        client.leave()


def test_it_hears_a_public_channel(connect: Connect, sdk):
    client = connect()
    assert client.join("news", "headline") == {}
    sdk.trigger("news", "headline", {"text": "hello"})
    assert client.next("headline") == {"text": "hello"}


def test_it_signs_for_a_private_channel(connect: Connect, sdk):
    client = connect()
    assert client.join("private-room", "secret") == {}
    sdk.trigger("private-room", "secret", [1])
    assert client.next("secret") == [1]


def test_it_is_a_member_and_sees_others_come_and_go(connect: Connect):
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
    # It sends one when it connects, with an empty string for data.
    client.hear(client.connection, "pusher:pong")
    client.connection.send_ping()
    assert client.next("pusher:pong") == {}
