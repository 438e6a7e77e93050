"""Nodes that share a Redis, and clients that record the messages they receive."""

import http.client
import json
import select

from .auth import SDK
from .raw_websocket import TEXT, RawWebSocket, message
from .server import Server

LEASE = 2
"""Seconds; shorter than the default, so that tests notice a dead node sooner."""


class Client(RawWebSocket):
    """A client that records the messages it receives.

    Attributes:
        received: The data of events; members that join or leave as ``+ann`` or ``-ann``;
            subscription counts as ``#3``; watchlist events as ``online ann`` or ``offline ann``.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(server.connect())
        self.socket_id = self.expect("pusher:connection_established")["socket_id"]
        self.received: list[object] = []

    def send_subscribe(self, channel: str, user_id: str | None = None) -> None:
        """Send a subscription, and return without waiting for its confirmation."""
        data = {"channel": channel}
        if user_id is not None:
            data |= SDK.authenticate(channel, self.socket_id, {"user_id": user_id})
        self.socket.sendall(message("pusher:subscribe", data=data))

    def subscribe(self, channel: str, user_id: str | None = None) -> set[str]:
        """Subscribe, and return the members of a presence channel."""
        self.send_subscribe(channel, user_id)
        succeeded = self.read_until("pusher_internal:subscription_succeeded")
        return set(succeeded["presence"]["ids"]) if succeeded else set()

    def sign_in(self, user_id: str, watchlist: list[str] | None = None) -> None:
        user = {"id": user_id} | ({} if watchlist is None else {"watchlist": watchlist})
        signed = SDK.authenticate_user(self.socket_id, user)
        self.socket.sendall(message("pusher:signin", data=signed))
        self.read_until("pusher:signin_success")

    def unsubscribe(self, channel: str) -> None:
        self.socket.sendall(message("pusher:unsubscribe", data={"channel": channel}))

    def read_until(self, event: str) -> object:
        while True:
            name, data = self.read()
            if name == event:
                return data

    def read(self) -> tuple[str, object]:
        frame = self.next()
        assert frame.opcode == TEXT, frame
        name, data = frame.message["event"], frame.message.get("data")
        if name == "pusher_internal:member_added":
            self.received.append("+" + data["user_id"])
        elif name == "pusher_internal:member_removed":
            self.received.append("-" + data["user_id"])
        elif name == "pusher_internal:subscription_count":
            self.received.append(f"#{data['subscription_count']}")
        elif name == "pusher_internal:watchlist_events":
            for group in data["events"]:
                self.received += [f"{group['name']} {user_id}" for user_id in group["user_ids"]]
        elif not name.startswith("pusher"):
            self.received.append(data)
        return name, data

    def assert_received(self, *expected: object) -> None:
        """Read as many messages as are expected, and check that they are these, in order."""
        while len(self.received) < len(expected):
            self.read()
        received, self.received = self.received, []
        assert received == list(expected)

    def catch_up(self) -> None:
        """Read all messages that the server has sent so far."""
        self.socket.sendall(message("pusher:ping", data={}))
        self.read_until("pusher:pong")

    def has_unread_data(self) -> bool:
        """Return whether there is data to read now."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], 0)[0])

    def assert_nothing_received(self) -> None:
        self.catch_up()
        self.assert_received()


def status(server: Server, path: str) -> tuple[int, str]:
    """Return the HTTP status and the body at a path."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def is_ready(server: Server) -> bool:
    return status(server, "/ready")[0] == 200


def users(server: Server, channel: str = "presence-room") -> set[str]:
    return {user["id"] for user in server.api_get(f"/channels/{channel}/users")["users"]}


def publish(server: Server, channel: str, data: object, **options: object) -> None:
    with server.sdk_session() as sdk:
        sdk.trigger(channel, "event", json.dumps(data), **options)
