"""A soak test: hundreds of clients use three nodes, with faults and a stranger who abuses them.

``make long`` runs it. ``LONG_SECONDS`` sets the duration, and ``LONG_SEED`` repeats a run.
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

from tests.support.nats_server import NatsServer
from tests.support.proxy import TO_NODE, TO_REDIS, Proxy
from tests.support.redis_server import RedisServer

from .crowd import Client, Crowd
from .endpoint import OccupancyEndpoint, OccupancyKey
from .scaling import LEASE, publish, status, users
from .server import Server
from .stranger import Stranger

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("LONG_SECONDS", "120"))
CLIENTS = 200
PACE = float(os.environ.get("LONG_PACE", "1"))
USERS = [f"user{number}" for number in range(60)]
CHANNELS = [f"presence-{number}" for number in range(7)] + [f"public-{n}" for n in range(3)]
APP_DEFAULTS = "[app_defaults]\nsubscription_counts = true\nwatchlists = true\n"
DEBOUNCE = "[webhooks]\ndebounce = 1\n"
CONVERGENCE_TIMEOUT = 20
"""Seconds after a fault within which all state is exact again: the time to detect a dead
connection, a lease, a reconnect and the grace period for other nodes, with a margin for a busy
machine."""
WATCHLIST_TIMEOUT = 30
"""Additional seconds for watchlists: an invalidation may be lost with a node, and then only the
periodic check, every 30 s, corrects a watchlist."""
_numbers = itertools.count(1)

Fault = Callable[[], Awaitable[None]]


class FaultyCluster:
    """Three nodes, a Redis and optionally a NATS, with the faults to inject into them.

    Args:
        rng: Chooses the faults, their targets and their durations.
        redis: The Redis.
        nats: The NATS, if it carries the events.
        start_node: Starts a node.

    Attributes:
        endpoint: The webhook endpoint of all nodes.
        nodes: The nodes.
        proxies: The proxy between each node and Redis.
    """

    def __init__(
        self,
        rng: random.Random,
        redis: RedisServer,
        nats: NatsServer | None,
        start_node: Callable[..., Server],
    ) -> None:
        self.rng = rng
        self.redis = redis
        self.nats = nats
        self.endpoint = OccupancyEndpoint()
        self._start_node = partial(
            start_node, extra_config=APP_DEFAULTS + DEBOUNCE, webhook=self.endpoint.url
        )
        self.proxies = [Proxy(redis.port) for _ in range(3)]
        self.nodes = [self._start_node(redis_url=proxy.url("shop")) for proxy in self.proxies]
        self._remaining_faults: list[tuple[Fault, ...]] = []

    async def inject_fault(self) -> str:
        """Inject a fault into nodes, a bus or both; every fault occurs before any is repeated.

        Returns:
            The name of the fault, once it has ended.
        """
        if not self._remaining_faults:
            node_faults = [self.kill_a_node, self.stop_a_node, self.pause_a_node]
            node_faults += [self.block_a_proxy, self.lose_data_at_a_proxy]
            bus_faults = [self.pause_redis, self.restart_redis]
            if self.nats is not None:
                bus_faults += [self.pause_nats, self.restart_nats, self.restart_both]
            single = [(fault,) for fault in (*node_faults, *bus_faults, self.kill_two_nodes)]
            double = [(fault, self.rng.choice(node_faults)) for fault in bus_faults]
            self._remaining_faults = single + double
            self.rng.shuffle(self._remaining_faults)
        faults = self._remaining_faults.pop()
        await asyncio.gather(*(fault() for fault in faults))
        return " and ".join(fault.__name__ for fault in faults)

    def close(self) -> None:
        """Close the endpoint and the proxies; the fixtures close the servers."""
        self.endpoint.close()
        for proxy in self.proxies:
            proxy.stop()

    def drop_unreportable_occupancy(self, fault: str, expected: set[OccupancyKey]) -> None:
        """Remove from the endpoint the occupancy that no node could report as ended.

        If a node and the data of Redis are lost together, no webhook reports the node's occupancy
        as ended.
        """
        redis_is_empty = "restart_redis" in fault or "restart_both" in fault
        if redis_is_empty and ("kill" in fault or "stop" in fault):
            self.endpoint.occupied &= expected

    def _random_number(self) -> int:
        return self.rng.randrange(len(self.nodes))

    async def _replace(self, number: int) -> None:
        await asyncio.sleep(self.rng.choice([0, 1, LEASE + 2]))
        url = self.proxies[number].url("shop")
        self.nodes[number] = await asyncio.to_thread(self._start_node, redis_url=url, wait=False)

    async def kill_a_node(self) -> None:
        number = self._random_number()
        self.nodes[number].kill()
        await self._replace(number)

    async def kill_two_nodes(self) -> None:
        numbers = self.rng.sample(range(len(self.nodes)), 2)
        for number in numbers:
            self.nodes[number].kill()
        for number in numbers:
            await self._replace(number)

    async def stop_a_node(self) -> None:
        number = self._random_number()
        await asyncio.to_thread(self.nodes[number].stop)
        await self._replace(number)

    async def pause_a_node(self) -> None:
        process = self.nodes[self._random_number()].process
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE + self.rng.uniform(0.5, 2))
        process.send_signal(signal.SIGCONT)

    async def block_a_proxy(self) -> None:
        proxy = self.proxies[self._random_number()]
        proxy.block()
        await asyncio.sleep(self.rng.uniform(1, 10))
        proxy.restore()

    async def lose_data_at_a_proxy(self) -> None:
        proxy = self.proxies[self._random_number()]
        proxy.lose(*self.rng.choice([(TO_REDIS,), (TO_NODE,), (TO_REDIS, TO_NODE)]))
        await asyncio.sleep(self.rng.uniform(1, 10))
        proxy.restore()

    async def pause_redis(self) -> None:
        await self._pause(self.redis, LEASE + self.rng.uniform(0.5, 2))

    async def restart_redis(self) -> None:
        await self._restart(self.redis)

    async def pause_nats(self) -> None:
        await self._pause(self.nats, self.rng.uniform(1, 10))

    async def restart_nats(self) -> None:
        await self._restart(self.nats)

    async def restart_both(self) -> None:
        await asyncio.gather(self._restart(self.redis), self._restart(self.nats))

    async def _pause(self, server: RedisServer | NatsServer, seconds: float) -> None:
        server.pause()
        await asyncio.sleep(seconds)
        server.resume()

    async def _restart(self, server: RedisServer | NatsServer) -> None:
        server.kill()
        await asyncio.sleep(self.rng.uniform(0, 4))
        server.start()


def occupancy(crowd: Crowd) -> set[OccupancyKey]:
    """Return the occupancy that webhooks should have reported."""
    expected: set[OccupancyKey] = set()
    for channel, subscribers in crowd.subscribers().items():
        expected.add((channel, None))
        if channel.startswith("presence-"):
            expected |= {(channel, client.user_id) for client in subscribers}
    return expected


def differences(crowd: Crowd, nodes: list[Server], endpoint: OccupancyEndpoint) -> list[str]:
    """Return where the ledgers or the answers of nodes differ from the expected state.

    The expected values are the subscriptions of all clients in the crowd.
    """
    expected = crowd.subscribers()
    found = []

    def compare(name: str, actual: object, wanted: object) -> None:
        if actual != wanted:
            if isinstance(actual, set) and isinstance(wanted, set):
                actual, wanted = f"+{sorted(actual - wanted)}", f"-{sorted(wanted - actual)}"
            found.append(f"{name}: {actual}, expected {wanted}")

    members = {
        channel: {client.user_id for client in clients}
        if channel.startswith("presence-")
        else set()
        for channel, clients in expected.items()
    }
    numbers = {
        channel: None if channel.startswith("presence-") else len(clients)
        for channel, clients in expected.items()
    }
    compare("occupancy at the webhook endpoint", set(endpoint.occupied), occupancy(crowd))
    for channel, clients in expected.items():
        for client in clients:
            ledger = client.subscriptions[channel]
            compare(f"members of {channel} at {client}", ledger.members, members[channel])
            compare(f"subscription count of {channel} at {client}", ledger.count, numbers[channel])
    for node in nodes:
        if status(node, "/ready")[0] != 200:
            found.append(f"{node.port} is not ready")
            continue
        compare(
            f"connections of {node.port}",
            node.api_get("/connections"),
            {"connections": len(crowd.clients)},
        )
        channels = set(node.api_get("/channels")["channels"])
        compare(f"channels of {node.port}", channels, set(expected))
        for channel, clients in expected.items():
            counts = {"occupied": True, "subscription_count": len(clients)}
            info = "subscription_count"
            if channel.startswith("presence-"):
                counts["user_count"] = len(members[channel])
                info += ",user_count"
                user_ids = users(node, channel)
                compare(f"users of {channel} on {node.port}", user_ids, members[channel])
            answer = node.api_get(f"/channels/{channel}", info=info)
            compare(f"{channel} on {node.port}", answer, counts)
    return found


def watchlist_differences(crowd: Crowd) -> list[str]:
    """Return which users on watchlists have a wrong state, according to the clients' ledgers."""
    online = {client.user_id for client in crowd.clients if client.watchlist.online}
    return [
        f"{client} last received that {user_id} is {'online' if is_online else 'offline'}"
        for client in crowd.clients
        for user_id, is_online in client.watchlist.online.items()
        if is_online != (user_id in online)
    ]


async def check(crowd: Crowd, nodes: list[Server], endpoint: OccupancyEndpoint) -> float:
    """Check a paused crowd: all state becomes exact, and an event is delivered once.

    Returns:
        The seconds until all state was exact.
    """
    began = time.monotonic()
    end = began + CONVERGENCE_TIMEOUT
    while found := differences(crowd, nodes, endpoint):
        assert time.monotonic() < end, "\n".join(found[:40])
        await asyncio.sleep(0.2)
    while found := watchlist_differences(crowd):
        assert time.monotonic() < end + WATCHLIST_TIMEOUT, "\n".join(found[:40])
        await asyncio.sleep(0.2)
    took = time.monotonic() - began
    for node in nodes:
        for channel in crowd.subscribers():
            data = f"while paused {next(_numbers)}"
            await asyncio.to_thread(publish, node, channel, data)
            for client in crowd.subscribers()[channel]:
                await wait_for_event(client, channel, data)
    assert not crowd.violations, "\n".join(crowd.violations[:40])
    return took


async def wait_for_event(client: Client, channel: str, data: str) -> None:
    end = time.monotonic() + CONVERGENCE_TIMEOUT
    while not client.events[channel, data]:
        assert time.monotonic() < end, f"{client} did not receive {data} on {channel}"
        await asyncio.sleep(0.005)


async def publish_continuously(cluster: FaultyCluster, rng: random.Random) -> None:
    """Publish during faults; no client may receive an event twice."""
    while True:
        node, channel = rng.choice(cluster.nodes), rng.choice(CHANNELS)
        try:
            await asyncio.to_thread(publish, node, channel, f"meanwhile {next(_numbers)}")
        except Exception:  # noqa: BLE001 - the node has just been killed
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)


async def soak(
    seed: int, redis: RedisServer, nats: NatsServer | None, start_node: Callable[..., Server]
) -> None:
    rng = random.Random(seed)  # noqa: S311 - a run must be repeatable
    cluster = FaultyCluster(rng, redis, nats, start_node)
    crowd = Crowd(
        seed,
        size=CLIENTS,
        channels=CHANNELS,
        users=USERS,
        pace=PACE,
        nodes=lambda: cluster.nodes,
    )
    stranger = Stranger(lambda: cluster.nodes, seed)
    began = time.monotonic()
    publishing_rng = random.Random(seed)  # noqa: S311
    publishing = asyncio.create_task(publish_continuously(cluster, publishing_rng))
    try:
        while time.monotonic() - began < SECONDS:
            crowd.resume()
            stranger.start()
            await asyncio.sleep(rng.uniform(1, 3))
            fault = await cluster.inject_fault()
            await asyncio.sleep(rng.choice([0, 1, 3]))
            await asyncio.to_thread(stranger.stop)
            await crowd.pause()
            try:
                cluster.drop_unreportable_occupancy(fault, occupancy(crowd))
                took = await check(crowd, cluster.nodes, cluster.endpoint)
            except AssertionError as error:
                problems = "\n".join([*crowd.violations[:40], str(error)])
                raise AssertionError(f"seed {seed}, after {fault}:\n{problems}") from None
            print(
                f"{time.monotonic() - began:5.1f} s: {fault}, {crowd.steps} steps,"
                f" {len(crowd.clients)} clients, "
                f"{sum(map(len, crowd.subscribers().values()))} subscriptions,"
                f" {stranger.counts.total()} abuses: exact after {took:.1f} s"
            )
        await asyncio.sleep(2 * LEASE)
        await check(crowd, cluster.nodes, cluster.endpoint)
    finally:
        publishing.cancel()
        await asyncio.to_thread(stranger.stop)
        await crowd.close()
        cluster.close()


def test_presence_is_exact_after_each_fault(redis, start_node):
    run(redis, None, start_node)


def test_presence_is_exact_after_each_fault_when_nats_carries_events(redis, nats, start_node):
    run(redis, nats, partial(start_node, broker=nats.url("shop")))


def run(redis: RedisServer, nats: NatsServer | None, start_node: Callable[..., Server]) -> None:
    seed = int(os.environ.get("LONG_SEED") or secrets.randbelow(1_000_000))
    print(f"LONG_SEED={seed}")
    asyncio.run(soak(seed, redis, nats, start_node))
