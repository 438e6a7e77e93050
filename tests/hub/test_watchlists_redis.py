"""Watchlists stay correct while users sign in and leave at random and components fail."""

import random

import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from reverb.hub.hub import Hub
from reverb.protocol.messages import User
from reverb.static_apps import StaticApps
from reverb.testing import MemoryConnection
from tests.support.redis_nodes import RedisNode
from tests.support.waiting import pause, until, wait

from .conftest import TTL
from .watchlist_nodes import WATCHING, pair_of

pytestmark = pytest.mark.outside_reactor

USERS = [f"user{number}" for number in range(6)]
CONVERGENCE_TIMEOUT = 45
"""Seconds until all sessions are correct; a lost invalidation is repaired after 30."""


class EventListener:
    """A client, and the last state that it received of each watched user."""

    def __init__(self, session, user):
        self.session = session
        self.user = user
        self.known = {}

    def receive(self):
        """Apply the received messages; each must report a change."""
        payloads = self.session.connection.payloads()
        self.session.connection.frames.clear()
        for payload in payloads:
            message = msgspec.json.decode(payload)
            assert message["event"] == "pusher_internal:watchlist_events"
            online, offline = pair_of(msgspec.json.decode(message["data"])["events"])
            changes = dict.fromkeys(online, True) | dict.fromkeys(offline, False)
            assert all(
                self.known.get(user_id) is not is_online for user_id, is_online in changes.items()
            )
            self.known |= changes


class FlappingNode(RedisNode):
    """A node whose users sign in and leave at random; it records who is signed in."""

    def __init__(self, url, rng):
        super().__init__(url, lease=1)
        self.rng = rng
        self.hub = Hub(
            broker=self.broker,
            store=self.store,
            apps=StaticApps((WATCHING,)),
            clock=reactor,
            cache_ttl=TTL,
        )
        self.listeners = []
        self.pending = []
        wait(self.store.start(self.hub.store_changed))
        wait(self.broker.start(self.hub.deliver))

    def step(self):
        """Sign in or remove one client without waiting for the result."""
        if self.listeners and self.rng.random() < 0.45:
            listener = self.listeners.pop(self.rng.randrange(len(self.listeners)))
            listener.receive()
            self.hub.end_session(listener.session)
            return
        watchlist = tuple(self.rng.sample(USERS, self.rng.randint(0, 4)))
        user = User(self.rng.choice(USERS), "{}", watchlist)
        self.pending.append(Deferred.fromCoroutine(self._sign_in(user)))

    async def _sign_in(self, user):
        session = await self.hub.admit(WATCHING, MemoryConnection())
        session.user = user
        self.listeners.append(EventListener(session, user))
        done = self.hub.sign_in(session, user)
        if done is not None:
            await done

    def settle(self):
        for deferred in self.pending:
            wait(deferred)
        self.pending.clear()

    def is_consistent(self, online):
        """Return whether every client knows the correct state of its watchlist."""
        for listener in self.listeners:
            listener.receive()
        return all(
            listener.known == {user_id: user_id in online for user_id in listener.user.watchlist}
            for listener in self.listeners
        )

    def end(self):
        self.end_sessions()
        self.stop()

    def die(self):
        super().die()
        self.end_sessions()  # Otherwise the hub would continue to look at their watchlists.

    def end_sessions(self):
        for listener in self.listeners:
            self.hub.end_session(listener.session)


class Cluster:
    def __init__(self, redis, rng):
        self.redis, self.rng = redis, rng
        self.nodes = [FlappingNode(redis.url(), rng) for _ in range(3)]

    def lose_a_connection(self):
        self.rng.choice(self.nodes).link.reset("requested by the test")

    def lose_a_lease(self):
        node = self.rng.choice(self.nodes)
        self.redis.ask("DEL", f"reverb:lease:{node.name}")

    def kill_a_node(self):
        node = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        node.settle()
        node.die()
        self.nodes.append(FlappingNode(self.redis.url(), self.rng))

    def stop_a_node(self):
        node = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        node.settle()
        node.end()
        self.nodes.append(FlappingNode(self.redis.url(), self.rng))

    def restart_redis(self):
        self.redis.kill()
        self.flap(20)
        self.redis.start()

    def flap(self, times):
        for _ in range(times):
            self.rng.choice(self.nodes).step()
            if self.rng.random() < 0.3:
                pause(self.rng.choice([0, 0.001, 0.01]))

    def check(self):
        """Wait until every watching session on every node knows the recorded state."""
        for node in self.nodes:
            node.settle()
        online = {listener.user.id for node in self.nodes for listener in node.listeners}
        until(
            f"agreement on {online}",
            lambda: all(
                node.broker.connected and node.is_consistent(online) for node in self.nodes
            ),
            CONVERGENCE_TIMEOUT,
        )


@pytest.mark.parametrize("seed", range(2))
def test_all_sessions_converge_on_the_correct_state(own_redis, seed):
    rng = random.Random(seed)  # noqa: S311 - the test must be reproducible
    cluster = Cluster(own_redis, rng)
    faults = [
        cluster.lose_a_connection,
        cluster.lose_a_lease,
        cluster.kill_a_node,
        cluster.stop_a_node,
        cluster.restart_redis,
    ]
    rng.shuffle(faults)
    for fault in faults:
        cluster.flap(60)
        fault()
        cluster.flap(30)
        cluster.check()
    for node in cluster.nodes:
        node.end()
    assert own_redis.keys("reverb") == set()
