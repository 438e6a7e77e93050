"""Hundreds of WebSocket clients in one asyncio loop, each with ledgers of its messages."""

import asyncio
import base64
import hmac
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from .ledger import SubscriptionLedger, WatchlistLedger
from .raw_websocket import CLOSE, TEXT, frame, message
from .server import APP, Server

ANSWER_TIMEOUT = 30
"""Seconds within which the server must answer every request of a client."""
RECONNECT = 4200
"""The error code that a stopping server sends."""


class DisconnectedError(Exception):
    """The connection is closed."""


class Client(asyncio.Protocol):
    """One connection.

    Args:
        node: The server that it connects to.
        user_id: The user that it signs in as, and subscribes to presence channels as.
        report_violation: Called with a sentence for each violation of the protocol by a server.

    Attributes:
        subscriptions: The ledgers of confirmed subscriptions, by channel.
        events: How often each event was delivered, by channel and data.
        watchlist: The ledger of the watchlist.
        is_connected: Whether the connection is open, as far as the client knows.
    """

    def __init__(self, node: Server, user_id: str, report_violation: Callable[[str], None]) -> None:
        self.node = node
        self.user_id = user_id
        self.socket_id = ""
        self.subscriptions: dict[str, SubscriptionLedger] = {}
        self.events: Counter[tuple[str, Any]] = Counter()
        self.watchlist = WatchlistLedger()
        self.is_connected = True
        self._report_violation = report_violation
        self._buffer = bytearray()
        self._upgraded = False
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._transport: asyncio.Transport = None

    def __repr__(self) -> str:
        return f"{self.user_id}/{self.socket_id}@{self.node.port}"

    # Requests

    async def connect(self) -> None:
        """Connect, and wait until the server confirms the connection."""
        loop = asyncio.get_running_loop()
        established = self._add_pending("pusher:connection_established")
        await loop.create_connection(lambda: self, "127.0.0.1", self.node.port)
        self.socket_id = (await self._wait_for(established))["socket_id"]

    async def sign_in(self, watchlist: list[str]) -> None:
        """Sign in, and wait for the watchlist events of all users on the watchlist."""
        watchlist_events = self._add_pending("watchlist")
        user_data = json.dumps({"id": self.user_id, "watchlist": watchlist})
        data = {"user_data": user_data, "auth": self._sign(f":user::{user_data}")}
        self._transport.write(message("pusher:signin", data=data))
        await self._wait_for(watchlist_events)

    async def subscribe(self, channel: str) -> None:
        confirmed = self._add_pending(channel)
        self._send_subscribe(channel)
        await self._wait_for(confirmed)

    def _send_subscribe(self, channel: str) -> None:
        data = {"channel": channel}
        if channel.startswith("presence-"):
            data["channel_data"] = json.dumps({"user_id": self.user_id})
            data["auth"] = self._sign(f"{channel}:{data['channel_data']}")
        self._transport.write(message("pusher:subscribe", data=data))

    def _sign(self, text: str) -> str:
        text = f"{self.socket_id}:{text}"
        return f"{APP.key}:{hmac.digest(APP.secret.encode(), text.encode(), 'sha256').hex()}"

    def unsubscribe(self, channel: str) -> None:
        del self.subscriptions[channel]
        self._send_unsubscribe(channel)

    def _send_unsubscribe(self, channel: str) -> None:
        self._transport.write(message("pusher:unsubscribe", data={"channel": channel}))

    def toggle_subscriptions(self, channels: list[str]) -> set[str]:
        """Subscribe to each channel, or unsubscribe if subscribed, without waiting for answers.

        Returns:
            The channels that the client is subscribed to once the server has handled all messages.
        """
        wanted = set(self.subscriptions)
        for channel in channels:
            (self._send_unsubscribe if channel in wanted else self._send_subscribe)(channel)
            wanted ^= {channel}
        return wanted

    async def confirm_subscriptions(self, wanted: set[str]) -> None:
        """Wait until the server has handled all messages; then check the subscriptions."""
        await self.catch_up()
        if not wanted <= self.subscriptions.keys():
            self._report_violation(
                f"{self} is not subscribed to {wanted - self.subscriptions.keys()}"
            )
        self.subscriptions = {c: s for c, s in self.subscriptions.items() if c in wanted}

    async def catch_up(self) -> None:
        """Wait until all messages that the server has sent so far have arrived."""
        pong = self._add_pending("pusher:pong")
        self._transport.write(message("pusher:ping", data={}))
        await self._wait_for(pong)

    async def close(self) -> None:
        """Close as browsers do, with a closing handshake; this raises DisconnectedError."""
        closed = self._add_pending("close")
        self._transport.write(frame((1000).to_bytes(2, "big"), CLOSE))
        await self._wait_for(closed)

    def abort(self) -> None:
        """Close the TCP connection without a closing handshake."""
        self.connection_lost(None)
        if self._transport is not None:
            self._transport.abort()

    def _add_pending(self, name: str) -> "asyncio.Future[Any]":
        if not self.is_connected:
            raise DisconnectedError
        future = self._pending[name] = asyncio.get_running_loop().create_future()
        return future

    async def _wait_for(self, future: "asyncio.Future[Any]") -> Any:
        try:
            return await asyncio.wait_for(future, ANSWER_TIMEOUT)
        except TimeoutError:
            (name,) = (name for name, other in self._pending.items() if other is future)
            self._report_violation(f"{self} received no {name} within {ANSWER_TIMEOUT} s")
            self.abort()
            raise DisconnectedError from None

    def _resolve(self, name: str, result: Any) -> None:
        future = self._pending.pop(name, None)
        if future is not None and not future.done():
            future.set_result(result)

    # Callbacks of asyncio, and the messages of the server

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if not self.is_connected:
            transport.abort()
            return
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /app/{APP.key}?protocol=7&client=crowd&version=1.0 HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_connected = False
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(DisconnectedError())
                # Mark it as retrieved, so that asyncio logs nothing if no task awaits it yet.
                future.exception()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            head, end, rest = bytes(buffer).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._report_violation(f"{self} received no upgrade, but {head!r}")
            self._upgraded = True
            buffer[:] = rest
        position = 0
        while len(buffer) - position >= 2:
            opcode, length, start = buffer[position] & 0x0F, buffer[position + 1], position + 2
            if length == 126:
                start = position + 4
                length = int.from_bytes(buffer[position + 2 : start], "big")
            if len(buffer) < start + length:
                break
            position = start + length
            if opcode == TEXT and self.is_connected:
                self._handle_message(json.loads(buffer[start:position]))
            elif opcode == CLOSE and "close" not in self._pending:
                self._transport.write(frame(bytes(buffer[start : start + 2]), CLOSE))
        del buffer[:position]

    def _handle_message(self, received: dict[str, Any]) -> None:
        event, channel = received["event"], received.get("channel", "")
        data = received.get("data")
        data = json.loads(data) if isinstance(data, str) else data
        subscription = self.subscriptions.get(channel)
        if event == "pusher_internal:subscription_succeeded":
            self._handle_confirmation(channel, set(data["presence"]["ids"]) if data else set())
        elif event == "pusher:error":
            if data["code"] != RECONNECT:
                self._report_violation(f"{self} received the error {data}")
        elif event == "pusher:ping":
            self._transport.write(message("pusher:pong", data={}))
        elif event.startswith("pusher:"):
            self._resolve(event, data)
        elif event == "pusher_internal:watchlist_events":
            self._handle_watchlist_events(data["events"])
        elif subscription is None:
            return  # The server has not handled the unsubscribe message yet.
        elif event.startswith("pusher_internal:"):
            if violation := subscription.record(event, data):
                self._report_violation(f"{self} received on {channel} {violation}")
        else:
            self._record_event(channel, data)

    def _handle_watchlist_events(self, events: list[dict[str, Any]]) -> None:
        if violation := self.watchlist.record(events):
            self._report_violation(f"{self} received {violation}")
        self._resolve("watchlist", None)

    def _record_event(self, channel: str, data: Any) -> None:
        self.events[channel, data] += 1
        if self.events[channel, data] > 1:
            self._report_violation(f"{self} received {data} on {channel} twice")

    def _handle_confirmation(self, channel: str, members: set[str]) -> None:
        if channel.startswith("presence-") and self.user_id not in members:
            self._report_violation(f"{self} is not in the members of {channel}: {members}")
        self.subscriptions[channel] = SubscriptionLedger(members)
        self._resolve(channel, None)


class Crowd:
    """Clients that connect, subscribe and disconnect at random, unless they are paused.

    Args:
        seed: The seed of the clients' random number generators.
        size: The maximum number of clients.
        channels: The channels that they subscribe to.
        users: The users that they sign in as, each on several connections.
        pace: Seconds between two steps of one client, on average.
        nodes: Returns the servers to connect to.

    Attributes:
        violations: A sentence for each violation of the protocol by a server.
        steps: The number of steps that clients have completed.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: int,
        channels: list[str],
        users: list[str],
        pace: float,
        nodes: Callable[[], list[Server]],
    ) -> None:
        self.violations: list[str] = []
        self.steps = 0
        self._channels = channels
        self._users = users
        self._pace = pace
        self._nodes = nodes
        self._running = asyncio.Event()
        self._clients: list[Client | None] = [None] * size
        rngs = [random.Random(f"{seed}/{number}") for number in range(size)]  # noqa: S311
        self._tasks = [asyncio.create_task(self._run_client(n, rngs[n])) for n in range(size)]
        self._busy: set[int] = set()

    @property
    def clients(self) -> list[Client]:
        """The clients that are connected."""
        return [client for client in self._clients if client is not None and client.is_connected]

    def subscribers(self) -> dict[str, list[Client]]:
        """Return the subscribers of each channel, according to the clients' own ledgers."""
        subscribed: dict[str, list[Client]] = defaultdict(list)
        for client in self.clients:
            for channel in client.subscriptions:
                subscribed[channel].append(client)
        return subscribed

    def resume(self) -> None:
        self._running.set()

    async def pause(self) -> None:
        """Start no further steps, and wait until all current steps have ended."""
        self._running.clear()
        while self._busy:
            await asyncio.sleep(0.01)
            self._check_tasks()

    async def close(self) -> None:
        """Stop all steps, and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.abort()

    def _check_tasks(self) -> None:
        """Raise the exception of a task that has failed."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _run_client(self, number: int, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.expovariate(1 / self._pace))
            await self._running.wait()
            self._busy.add(number)
            try:
                await self._step(number, rng)
                self.steps += 1
            except (DisconnectedError, OSError):
                pass  # It closed its connection, or its server was killed; it connects again.
            finally:
                self._busy.discard(number)

    async def _step(self, number: int, rng: random.Random) -> None:
        client = self._clients[number]
        if client is None or not client.is_connected:
            client = Client(
                rng.choice(self._nodes()), rng.choice(self._users), self.violations.append
            )
            if rng.random() < 0.1:
                await self._abort_while_connecting(client, rng)
                return
            await client.connect()
            self._clients[number] = client
            await client.sign_in(rng.sample(self._users, 10))
        action = rng.random()
        if action < 0.35:
            channel = rng.choice(self._channels)
            if channel not in client.subscriptions:
                await client.subscribe(channel)
        elif action < 0.6:
            if client.subscriptions:
                client.unsubscribe(rng.choice(sorted(client.subscriptions)))
        elif action < 0.85:
            await self._toggle_subscriptions(client, rng)
        elif action < 0.93:
            await client.close()
        else:
            client.abort()

    @staticmethod
    async def _abort_while_connecting(client: Client, rng: random.Random) -> None:
        """Abort the connection while it is being established."""
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(rng.choice([0, 0.001, 0.01, 0.1]))
        client.abort()
        await connecting

    async def _toggle_subscriptions(self, client: Client, rng: random.Random) -> None:
        """Send several requests at once, and perhaps disconnect without waiting for answers."""
        wanted = client.toggle_subscriptions(rng.choices(self._channels, k=rng.randrange(1, 6)))
        await asyncio.sleep(rng.choice([0, 0, 0.002, 0.02]))
        ending = rng.random()
        if ending < 0.5:
            await client.confirm_subscriptions(wanted)
        elif ending < 0.8:
            client.abort()
        else:
            await client.close()
