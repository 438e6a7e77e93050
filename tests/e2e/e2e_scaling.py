"""Nodes that share a Redis, and clients that keep what they hear."""

import http.client
import json
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e_auth import SDK
from e2e_raw import TEXT, RawWebSocket, message
from e2e_server import APP, AS_APP, Server, poll

from nats_server import NatsServer
from redis_server import RedisServer

LEASE = 2
"""Seconds; nodes of the tests are missed sooner than those of users."""


class Client(RawWebSocket):
    """A client that keeps what it gets.

    Data, ``member_added`` as ``+ann``, counts as ``#3``, of watched users ``online ann``.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(server.connect())
        self.socket_id = self.expect("pusher:connection_established")["socket_id"]
        self.heard: list[object] = []

    def begin_subscribing(self, channel: str, user_id: str | None = None) -> None:
        data = {"channel": channel}
        if user_id is not None:
            data |= SDK.authenticate(channel, self.socket_id, {"user_id": user_id})
        self.socket.sendall(message("pusher:subscribe", data=data))

    def subscribe(self, channel: str, user_id: str | None = None) -> set[str]:
        """Subscribe; return the members."""
        self.begin_subscribing(channel, user_id)
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
            self.heard.append("+" + data["user_id"])
        elif name == "pusher_internal:member_removed":
            self.heard.append("-" + data["user_id"])
        elif name == "pusher_internal:subscription_count":
            self.heard.append(f"#{data['subscription_count']}")
        elif name == "pusher_internal:watchlist_events":
            for group in data["events"]:
                self.heard += [f"{group['name']} {user_id}" for user_id in group["user_ids"]]
        elif not name.startswith("pusher"):
            self.heard.append(data)
        return name, data

    def hear(self, *expected: object) -> None:
        """Read until as much has been heard as is expected, and nothing else has."""
        while len(self.heard) < len(expected):
            self.read()
        heard, self.heard = self.heard, []
        assert heard == list(expected)

    def catch_up(self) -> None:
        """Read all that the server has sent until now."""
        self.socket.sendall(message("pusher:ping", data={}))
        self.read_until("pusher:pong")

    def has_been_sent_anything(self) -> bool:
        """Tell whether something waits to be read now."""
        return bool(self._buffer) or bool(select.select([self.socket], [], [], 0)[0])

    def hears_nothing(self) -> None:
        self.catch_up()
        self.hear()


StartNode = Callable[..., Server]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    yield server
    server.resume()
    server.kill()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    directory = tmp_path / "nats"
    directory.mkdir()
    server = NatsServer(directory)
    yield server
    server.resume()
    server.kill()


@pytest.fixture
def start_node(
    request: pytest.FixtureRequest, tmp_path: Path, start_server: StartNode
) -> StartNode:
    config = tmp_path / "reverb.toml"

    def start(
        *,
        url: str = "",
        broker: str = "",
        ready: bool = True,
        more: str = "",
        webhook: str = "",
    ) -> Server:
        url = url or request.getfixturevalue("redis").url("shop")
        app: tuple[str, ...] = AS_APP
        if webhook:  # An app with webhooks is in the file.
            app = ()
            more += f"[[apps]]\nid = '{APP.id}'\nkey = '{APP.key}'\nsecret = '{APP.secret}'\n"
            more += f"[[apps.webhooks]]\nurl = '{webhook}'\n"
        config.write_text(f'redis = "{url}"\nbroker = "{broker}"\nredis_lease = {LEASE}\n{more}')
        reactor = "asyncio" if broker else ""
        server = start_server("--port", "0", "--config", str(config), *app, reactor=reactor)
        if ready:
            poll("ready", lambda: status(server, "/ready")[0] == 200)
        return server

    return start


@pytest.fixture
def nodes(start_node: StartNode) -> tuple[Server, Server]:
    return start_node(), start_node()


@pytest.fixture
def connect() -> Iterator[Callable[[Server], Client]]:
    clients: list[Client] = []

    def connect(server: Server) -> Client:
        clients.append(Client(server))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def status(server: Server, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def users(server: Server, channel: str = "presence-room") -> set[str]:
    return {user["id"] for user in server.ask(f"/channels/{channel}/users")["users"]}


def publish(server: Server, channel: str, data: object, **more: object) -> None:
    with server.sdk_session() as sdk:
        sdk.trigger(channel, "event", json.dumps(data), **more)
