"""Hundreds of WebSocket clients in one asyncio loop, who keep books of what they are told."""

import asyncio
import base64
import hmac
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from e2e_ledger import Subscription, Watched
from e2e_raw import CLOSE, TEXT, frame, message
from e2e_server import APP, Server

ANSWER_TIMEOUT = 30
"""Seconds within which whatever a client asks for must be answered, come what may."""
RECONNECT = 4200
"""The code of a server that stops."""


class GoneError(Exception):
    """The connection has ended."""


class Client(asyncio.Protocol):
    """One connection.

    Args:
        node: The server that it is connected to.
        user_id: As whom it subscribes to presence channels.
        complain: Called with a sentence for all that a server must not do.

    Attributes:
        subscriptions: The confirmed ones, by channel.
        events: How often each event was delivered, by channel and data.
        watched: What it was told of the users whom it watches.
        alive: Whether the connection is there, as far as the client knows.
    """

    def __init__(self, node: Server, user_id: str, complain: Callable[[str], None]) -> None:
        self.node = node
        self.user_id = user_id
        self.socket_id = ""
        self.subscriptions: dict[str, Subscription] = {}
        self.events: Counter[tuple[str, Any]] = Counter()
        self.watched = Watched()
        self.alive = True
        self._complain = complain
        self._buffer = bytearray()
        self._upgraded = False
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._transport: asyncio.Transport = None

    def __repr__(self) -> str:
        return f"{self.user_id}/{self.socket_id}@{self.node.port}"

    # What it does

    async def connect(self) -> None:
        """Connect, and wait until the server says so."""
        loop = asyncio.get_running_loop()
        established = self._expect("pusher:connection_established")
        await loop.create_connection(lambda: self, "127.0.0.1", self.node.port)
        self.socket_id = (await self._answer(established))["socket_id"]

    async def sign_in(self, watchlist: list[str]) -> None:
        """Sign in, and wait until all on the watchlist have been told of."""
        told = self._expect("watchlist")
        user_data = json.dumps({"id": self.user_id, "watchlist": watchlist})
        data = {"user_data": user_data, "auth": self._sign(f":user::{user_data}")}
        self._transport.write(message("pusher:signin", data=data))
        await self._answer(told)

    async def subscribe(self, channel: str) -> None:
        confirmed = self._expect(channel)
        self._ask_for(channel)
        await self._answer(confirmed)

    def _ask_for(self, channel: str) -> None:
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
        self._take_leave_of(channel)

    def _take_leave_of(self, channel: str) -> None:
        self._transport.write(message("pusher:unsubscribe", data={"channel": channel}))

    def rush(self, channels: list[str]) -> set[str]:
        """Subscribe to each channel, or unsubscribe, whichever is possible, and wait for nothing.

        Returns:
            The channels that it is subscribed to when the server has obeyed.
        """
        wanted = set(self.subscriptions)
        for channel in channels:
            (self._take_leave_of if channel in wanted else self._ask_for)(channel)
            wanted ^= {channel}
        return wanted

    async def settle(self, wanted: set[str]) -> None:
        """Wait until the server has obeyed."""
        await self.catch_up()
        if not wanted <= self.subscriptions.keys():
            self._complain(f"{self} is not subscribed to {wanted - self.subscriptions.keys()}")
        self.subscriptions = {c: s for c, s in self.subscriptions.items() if c in wanted}

    async def catch_up(self) -> None:
        """Wait until all has come that the server has sent until now."""
        pong = self._expect("pusher:pong")
        self._transport.write(message("pusher:ping", data={}))
        await self._answer(pong)

    async def close(self) -> None:
        """Close as browsers do; GoneError is what follows."""
        gone = self._expect("gone")
        self._transport.write(frame((1000).to_bytes(2, "big"), CLOSE))
        await self._answer(gone)

    def die(self) -> None:
        """Vanish without a word."""
        self.connection_lost(None)
        if self._transport is not None:
            self._transport.abort()

    def _expect(self, what: str) -> "asyncio.Future[Any]":
        if not self.alive:
            raise GoneError
        waiting = self._waiting[what] = asyncio.get_running_loop().create_future()
        return waiting

    async def _answer(self, waiting: "asyncio.Future[Any]") -> Any:
        try:
            return await asyncio.wait_for(waiting, ANSWER_TIMEOUT)
        except TimeoutError:
            (what,) = (name for name, other in self._waiting.items() if other is waiting)
            self._complain(f"{self} has waited {ANSWER_TIMEOUT} s for {what}")
            self.die()
            raise GoneError from None

    def _resolve(self, what: str, result: Any) -> None:
        waiting = self._waiting.pop(what, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    # What happens to it

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if not self.alive:
            transport.abort()
            return
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /app/{APP.key}?protocol=7&client=crowd&version=1.0 HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.done():
                one.set_exception(GoneError())
                one.exception()  # Nobody may be waiting for it yet.

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            head, end, rest = bytes(buffer).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._complain(f"{self}: no upgrade but {head!r}")
            self._upgraded = True
            buffer[:] = rest
        at = 0
        while len(buffer) - at >= 2:
            opcode, length, start = buffer[at] & 0x0F, buffer[at + 1], at + 2
            if length == 126:
                start = at + 4
                length = int.from_bytes(buffer[at + 2 : start], "big")
            if len(buffer) < start + length:
                break
            at = start + length
            if opcode == TEXT and self.alive:
                self._take(json.loads(buffer[start:at]))
            elif opcode == CLOSE and "gone" not in self._waiting:
                self._transport.write(frame(bytes(buffer[start : start + 2]), CLOSE))
        del buffer[:at]

    def _take(self, said: dict[str, Any]) -> None:
        event, channel, data = said["event"], said.get("channel", ""), said.get("data")
        data = json.loads(data) if isinstance(data, str) else data
        subscription = self.subscriptions.get(channel)
        if event == "pusher_internal:subscription_succeeded":
            self._take_confirmation(channel, set(data["presence"]["ids"]) if data else set())
        elif event == "pusher:error":
            if data["code"] != RECONNECT:
                self._complain(f"{self} got {data}")
        elif event == "pusher:ping":
            self._transport.write(message("pusher:pong", data={}))
        elif event.startswith("pusher:"):
            self._resolve(event, data)
        elif event == "pusher_internal:watchlist_events":
            self._take_watched(data["events"])
        elif subscription is None:
            return  # It has unsubscribed, and the server does not know yet.
        elif event.startswith("pusher_internal:"):
            if wrong := subscription.take(event, data):
                self._complain(f"{self} was told on {channel} {wrong}")
        else:
            self._count(channel, data)

    def _take_watched(self, events: list[dict[str, Any]]) -> None:
        if wrong := self.watched.take(events):
            self._complain(f"{self} was told {wrong}")
        self._resolve("watchlist", None)

    def _count(self, channel: str, data: Any) -> None:
        self.events[channel, data] += 1
        if self.events[channel, data] > 1:
            self._complain(f"{self} got {data} on {channel} twice")

    def _take_confirmation(self, channel: str, members: set[str]) -> None:
        if channel.startswith("presence-") and self.user_id not in members:
            self._complain(f"{self} is not in the members of {channel}: {members}")
        self.subscriptions[channel] = Subscription(members)
        self._resolve(channel, None)


class Crowd:
    """Clients that come and go at random, until they are told to rest.

    Args:
        seed: What they draw their lots from.
        size: How many there are at most.
        channels: Those they subscribe to.
        users: As whom they come; each on several connections.
        pace: Seconds between two steps of one of them, on average.
        nodes: Tells which servers there are to connect to.

    Attributes:
        wrong: All that servers have done wrong, in sentences.
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
        self.wrong: list[str] = []
        self.steps = 0
        self._channels = channels
        self._users = users
        self._pace = pace
        self._nodes = nodes
        self._moving = asyncio.Event()
        self._clients: list[Client | None] = [None] * size
        dice = [random.Random(f"{seed}/{number}") for number in range(size)]  # noqa: S311
        self._tasks = [asyncio.create_task(self._live(n, dice[n])) for n in range(size)]
        self._busy: set[int] = set()

    @property
    def clients(self) -> list[Client]:
        """Those who are connected."""
        return [client for client in self._clients if client is not None and client.alive]

    def truth(self) -> dict[str, list[Client]]:
        """Who is subscribed to what, as their own books say."""
        subscribed: dict[str, list[Client]] = defaultdict(list)
        for client in self.clients:
            for channel in client.subscriptions:
                subscribed[channel].append(client)
        return subscribed

    def move(self) -> None:
        self._moving.set()

    async def rest(self) -> None:
        """Stop coming and going, and wait until all has been answered."""
        self._moving.clear()
        while self._busy:
            await asyncio.sleep(0.01)
            self._check_tasks()

    async def leave(self) -> None:
        """All go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.die()

    def _check_tasks(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _live(self, number: int, dice: random.Random) -> None:
        while True:
            await asyncio.sleep(dice.expovariate(1 / self._pace))
            await self._moving.wait()
            self._busy.add(number)
            try:
                await self._step(number, dice)
                self.steps += 1
            except (GoneError, OSError):
                pass  # It has gone, or its server was killed; it comes back.
            finally:
                self._busy.discard(number)

    async def _step(self, number: int, dice: random.Random) -> None:
        client = self._clients[number]
        if client is None or not client.alive:
            client = Client(dice.choice(self._nodes()), dice.choice(self._users), self.wrong.append)
            if dice.random() < 0.1:
                await self._stillbirth(client, dice)
                return
            await client.connect()
            self._clients[number] = client
            await client.sign_in(dice.sample(self._users, 10))
        what = dice.random()
        if what < 0.35:
            channel = dice.choice(self._channels)
            if channel not in client.subscriptions:
                await client.subscribe(channel)
        elif what < 0.6:
            if client.subscriptions:
                client.unsubscribe(dice.choice(sorted(client.subscriptions)))
        elif what < 0.85:
            await self._rush(client, dice)
        elif what < 0.93:
            await client.close()
        else:
            client.die()

    @staticmethod
    async def _stillbirth(client: Client, dice: random.Random) -> None:
        """Die while connecting."""
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(dice.choice([0, 0.001, 0.01, 0.1]))
        client.die()
        await connecting

    async def _rush(self, client: Client, dice: random.Random) -> None:
        """Ask for many things at once, and perhaps go without waiting for any."""
        wanted = client.rush(dice.choices(self._channels, k=dice.randrange(1, 6)))
        await asyncio.sleep(dice.choice([0, 0, 0.002, 0.02]))
        how = dice.random()
        if how < 0.5:
            await client.settle(wanted)
        elif how < 0.8:
            client.die()
        else:
            await client.close()
