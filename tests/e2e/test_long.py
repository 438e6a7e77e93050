"""Hundreds of clients come and go on three nodes for minutes, while all else breaks.

``make long`` runs it; ``LONG_SECONDS`` says for how long, ``LONG_SEED`` with which lots.
"""

import asyncio
import itertools
import os
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from e2e_crowd import Client, Crowd
from e2e_endpoint import Endpoint, OccupancyKey
from e2e_scaling import LEASE, publish, status
from e2e_server import Server

from nats_server import NatsServer
from redis_proxy import TO_NODE, TO_REDIS, Proxy
from redis_server import RedisServer

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("LONG_SECONDS", "120"))
CLIENTS = 200
PACE = float(os.environ.get("LONG_PACE", "1"))
USERS = [f"user{number}" for number in range(60)]
CHANNELS = [f"presence-{number}" for number in range(7)] + [f"public-{n}" for n in range(3)]
APP_DEFAULTS = "[app_defaults]\nsubscription_counts = true\nwatchlists = true\n"
DEBOUNCE = "[webhooks]\ndebounce = 1\n"
SETTLED = 20
"""Seconds within which all is exact again: until a dead line is found, a lease, a reconnect and
the grace for other nodes, and more, for this machine may be busy."""
LOOKED_AGAIN = 30
"""Seconds more for watchers, whose hints may die with a node; all are looked at so often."""
_numbers = itertools.count(1)

Fault = Callable[[], Awaitable[None]]


class Trouble:
    """Three nodes, a Redis and sometimes a NATS, and what may befall them.

    Args:
        dice: Say what comes when, and to whom.
        redis: The Redis.
        nats: The NATS, if events go over one.
        start_node: Starts a node.

    Attributes:
        endpoint: The endpoint that all nodes' webhooks go to.
    """

    def __init__(
        self,
        dice: random.Random,
        redis: RedisServer,
        nats: NatsServer | None,
        start_node: Callable[..., Server],
    ) -> None:
        self.dice = dice
        self.redis = redis
        self.nats = nats
        self.endpoint = Endpoint()
        self._start_node = partial(
            start_node, more=APP_DEFAULTS + DEBOUNCE, webhook=self.endpoint.url
        )
        self.lines = [Proxy(redis.port) for _ in range(3)]
        self.nodes = [self._start_node(url=line.url("shop")) for line in self.lines]
        self._deck: list[tuple[Fault, ...]] = []

    async def strike(self) -> str:
        """Let something happen, to nodes, to a bus or to both; all comes before any comes again.

        Returns:
            What it was, when it is over.
        """
        if not self._deck:
            of_nodes = [self.kill_a_node, self.stop_a_node, self.pause_a_node]
            of_nodes += [self.cut_a_line, self.lose_a_line]
            of_buses = [self.pause_redis, self.restart_redis]
            if self.nats is not None:
                of_buses += [self.pause_nats, self.restart_nats, self.restart_both]
            self._deck = [(fault,) for fault in (*of_nodes, *of_buses, self.kill_two_nodes)]
            self._deck += [(fault, self.dice.choice(of_nodes)) for fault in of_buses]
            self.dice.shuffle(self._deck)
        faults = self._deck.pop()
        await asyncio.gather(*(fault() for fault in faults))
        return " and ".join(fault.__name__ for fault in faults)

    def end(self) -> None:
        """Let the lines go; the fixtures end the rest."""
        self.endpoint.close()
        for line in self.lines:
            line.stop()

    def forget_who_is_lost(self, fault: str, truth: set[OccupancyKey]) -> None:
        """Strike out who is not there: nobody is left who could have told of it.

        So it is when a node and all that Redis knew are gone together.
        """
        redis_is_empty = "restart_redis" in fault or "restart_both" in fault
        if redis_is_empty and ("kill" in fault or "stop" in fault):
            self.endpoint.there &= truth

    def _draw(self) -> int:
        return self.dice.randrange(len(self.nodes))

    async def _replace(self, number: int) -> None:
        await asyncio.sleep(self.dice.choice([0, 1, LEASE + 2]))
        url = self.lines[number].url("shop")
        self.nodes[number] = await asyncio.to_thread(self._start_node, url=url, ready=False)

    async def kill_a_node(self) -> None:
        number = self._draw()
        self.nodes[number].kill()
        await self._replace(number)

    async def kill_two_nodes(self) -> None:
        numbers = self.dice.sample(range(len(self.nodes)), 2)
        for number in numbers:
            self.nodes[number].kill()
        for number in numbers:
            await self._replace(number)

    async def stop_a_node(self) -> None:
        number = self._draw()
        await asyncio.to_thread(self.nodes[number].stop)
        await self._replace(number)

    async def pause_a_node(self) -> None:
        process = self.nodes[self._draw()].process
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE + self.dice.uniform(0.5, 2))
        process.send_signal(signal.SIGCONT)

    async def cut_a_line(self) -> None:
        line = self.lines[self._draw()]
        line.block()
        await asyncio.sleep(self.dice.uniform(1, 10))
        line.restore()

    async def lose_a_line(self) -> None:
        line = self.lines[self._draw()]
        line.lose(*self.dice.choice([(TO_REDIS,), (TO_NODE,), (TO_REDIS, TO_NODE)]))
        await asyncio.sleep(self.dice.uniform(1, 10))
        line.restore()

    async def pause_redis(self) -> None:
        await self._pause(self.redis, LEASE + self.dice.uniform(0.5, 2))

    async def restart_redis(self) -> None:
        await self._restart(self.redis)

    async def pause_nats(self) -> None:
        await self._pause(self.nats, self.dice.uniform(1, 10))

    async def restart_nats(self) -> None:
        await self._restart(self.nats)

    async def restart_both(self) -> None:
        await asyncio.gather(self._restart(self.redis), self._restart(self.nats))

    async def _pause(self, program: RedisServer | NatsServer, seconds: float) -> None:
        program.pause()
        await asyncio.sleep(seconds)
        program.resume()

    async def _restart(self, program: RedisServer | NatsServer) -> None:
        program.kill()
        await asyncio.sleep(self.dice.uniform(0, 4))
        program.start()


def occupancy(crowd: Crowd) -> set[OccupancyKey]:
    """Who is there, as webhooks tell of it."""
    found: set[OccupancyKey] = set()
    for channel, there in crowd.truth().items():
        found.add((channel, None))
        if channel.startswith("presence-"):
            found |= {(channel, client.user_id) for client in there}
    return found


def differences(crowd: Crowd, nodes: list[Server], endpoint: Endpoint) -> list[str]:
    """Say where what clients and the endpoint were told, or nodes answer, is not what is true."""
    truth = crowd.truth()
    found = []

    def compare(what: str, told: object, true: object) -> None:
        if told != true:
            if isinstance(told, set) and isinstance(true, set):
                told, true = f"+{sorted(told - true)}", f"-{sorted(true - told)}"
            found.append(f"{what}: {told}, in truth {true}")

    members = {
        channel: {client.user_id for client in there} if channel.startswith("presence-") else set()
        for channel, there in truth.items()
    }
    numbers = {
        channel: None if channel.startswith("presence-") else len(there)
        for channel, there in truth.items()
    }
    compare("the endpoint of webhooks knows", set(endpoint.there), occupancy(crowd))
    for channel, there in truth.items():
        for client in there:
            told = client.subscriptions[channel].members
            compare(f"{client} knows of {channel}", told, members[channel])
            counted = client.subscriptions[channel].count
            compare(f"{client} has counted on {channel}", counted, numbers[channel])
    for node in nodes:
        if status(node, "/ready")[0] != 200:
            found.append(f"{node.port} is not ready")
            continue
        compare(
            f"connections of {node.port}",
            node.ask("/connections"),
            {"connections": len(crowd.clients)},
        )
        compare(f"channels of {node.port}", set(node.ask("/channels")["channels"]), set(truth))
        for channel, there in truth.items():
            counts = {"occupied": True, "subscription_count": len(there)}
            info = "subscription_count"
            if channel.startswith("presence-"):
                counts["user_count"] = len(members[channel])
                info += ",user_count"
                users = {user["id"] for user in node.ask(f"/channels/{channel}/users")["users"]}
                compare(f"users of {channel} on {node.port}", users, members[channel])
            told = node.ask(f"/channels/{channel}", info=info)
            compare(f"{channel} on {node.port}", told, counts)
    return found


def misled(crowd: Crowd) -> list[str]:
    """Say who was told last of a watched user what is not true."""
    online = {client.user_id for client in crowd.clients if client.watched.online}
    return [
        f"{client} knows that {user_id} is {'online' if is_online else 'offline'}"
        for client in crowd.clients
        for user_id, is_online in client.watched.online.items()
        if is_online != (user_id in online)
    ]


async def check(crowd: Crowd, nodes: list[Server], endpoint: Endpoint) -> float:
    """At rest, everybody knows what is true, and what is published comes once.

    Returns:
        After how many seconds that was so.
    """
    began = time.monotonic()
    end = began + SETTLED
    while found := differences(crowd, nodes, endpoint):
        assert time.monotonic() < end, "\n".join(found[:40])
        await asyncio.sleep(0.2)
    while found := misled(crowd):
        assert time.monotonic() < end + LOOKED_AGAIN, "\n".join(found[:40])
        await asyncio.sleep(0.2)
    took = time.monotonic() - began
    for node in nodes:
        for channel in crowd.truth():
            data = f"at rest {next(_numbers)}"
            await asyncio.to_thread(publish, node, channel, data)
            for client in crowd.truth()[channel]:
                await heard(client, channel, data)
    assert not crowd.wrong, "\n".join(crowd.wrong[:40])
    return took


async def heard(client: Client, channel: str, data: str) -> None:
    end = time.monotonic() + SETTLED
    while not client.events[channel, data]:
        assert time.monotonic() < end, f"{client} has not got {data} on {channel}"
        await asyncio.sleep(0.005)


async def publish_on(unavailable_reason: Trouble, dice: random.Random) -> None:
    """Publish while things break; it must come to nobody twice."""
    while True:
        node, channel = dice.choice(unavailable_reason.nodes), dice.choice(CHANNELS)
        try:
            await asyncio.to_thread(publish, node, channel, f"meanwhile {next(_numbers)}")
        except Exception:  # noqa: BLE001 - the node was killed just now
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)


async def flap(
    seed: int, redis: RedisServer, nats: NatsServer | None, start_node: Callable[..., Server]
) -> None:
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    unavailable_reason = Trouble(dice, redis, nats, start_node)
    crowd = Crowd(
        seed,
        size=CLIENTS,
        channels=CHANNELS,
        users=USERS,
        pace=PACE,
        nodes=lambda: unavailable_reason.nodes,
    )
    began = time.monotonic()
    publishing = asyncio.create_task(publish_on(unavailable_reason, random.Random(seed)))  # noqa: S311
    try:
        while time.monotonic() - began < SECONDS:
            crowd.move()
            await asyncio.sleep(dice.uniform(1, 3))
            fault = await unavailable_reason.strike()
            await asyncio.sleep(dice.choice([0, 1, 3]))
            await crowd.rest()
            try:
                unavailable_reason.forget_who_is_lost(fault, occupancy(crowd))
                took = await check(crowd, unavailable_reason.nodes, unavailable_reason.endpoint)
            except AssertionError as error:
                said = "\n".join([*crowd.wrong[:40], str(error)])
                raise AssertionError(f"seed {seed}, after {fault}:\n{said}") from None
            print(
                f"{time.monotonic() - began:5.1f} s: {fault}, {crowd.steps} steps,"
                f" {len(crowd.clients)} clients, {sum(map(len, crowd.truth().values()))}"
                f" subscriptions: all exact after {took:.1f} s"
            )
        await asyncio.sleep(2 * LEASE)
        await check(crowd, unavailable_reason.nodes, unavailable_reason.endpoint)
    finally:
        publishing.cancel()
        await crowd.leave()
        unavailable_reason.end()


def test_presence_is_exact_after_all_that_breaks(redis, start_node):
    run(redis, None, start_node)


def test_and_so_it_is_where_events_go_over_nats(redis, nats, start_node):
    run(redis, nats, partial(start_node, broker=nats.url("shop")))


def run(redis: RedisServer, nats: NatsServer | None, start_node: Callable[..., Server]) -> None:
    seed = int(os.environ.get("LONG_SEED") or secrets.randbelow(1_000_000))
    print(f"LONG_SEED={seed}")
    asyncio.run(flap(seed, redis, nats, start_node))
