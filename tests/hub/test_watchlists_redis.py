"""Users sign in and leave at random on several nodes while everything breaks that can."""

import random

import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from redis_nodes import Node, own_redis, pause, until, wait  # noqa: F401
from reverb.hub.hub import Hub
from reverb.protocol.messages import User
from reverb.static_apps import StaticApps
from reverb.testing import MemoryConnection

from .conftest import TTL
from .watchlist_support import WATCHING, pair_of

pytestmark = pytest.mark.outside_reactor

USERS = [f"user{number}" for number in range(6)]
LONGEST = 45
"""Seconds until all is exact: a hint that is lost with its node is made good for after 30."""


class EventListener:
    """A client, and what it was told of those whom it watches."""

    def __init__(self, session, user):
        self.session = session
        self.user = user
        self.known = {}

    def hear(self):
        """Take what it was told; each message must say something new."""
        payloads = self.session.connection.payloads()
        self.session.connection.frames.clear()
        for payload in payloads:
            message = msgspec.json.decode(payload)
            assert message["event"] == "pusher_internal:watchlist_events"
            online, offline = pair_of(msgspec.json.decode(message["data"])["events"])
            news = dict.fromkeys(online, True) | dict.fromkeys(offline, False)
            assert all(self.known.get(user_id) is not is_so for user_id, is_so in news.items())
            self.known |= news


class Flapping(Node):
    """A node whose users come and go, with the test's own books of them."""

    def __init__(self, url, dice):
        super().__init__(url, lease=1)
        self.dice = dice
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
        """Let one client come or go; nobody waits for the answer."""
        if self.listeners and self.dice.random() < 0.45:
            listener = self.listeners.pop(self.dice.randrange(len(self.listeners)))
            listener.hear()
            self.hub.leave(listener.session)
            return
        watchlist = tuple(self.dice.sample(USERS, self.dice.randint(0, 4)))
        user = User(self.dice.choice(USERS), "{}", watchlist)
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

    def agrees(self, online):
        """Whether all have been told what is true."""
        for listener in self.listeners:
            listener.hear()
        return all(
            listener.known == {user_id: user_id in online for user_id in listener.user.watchlist}
            for listener in self.listeners
        )

    def end(self):
        for listener in self.listeners:
            self.hub.leave(listener.session)
        self.stop()


class Cluster:
    def __init__(self, redis, dice):
        self.redis, self.dice = redis, dice
        self.nodes = [Flapping(redis.url(), dice) for _ in range(3)]

    def lose_a_connection(self):
        self.dice.choice(self.nodes).link.reset("the test says so")

    def lose_a_lease(self):
        node = self.dice.choice(self.nodes)
        self.redis.ask("DEL", f"reverb:lease:{node.name}")

    def kill_a_node(self):
        node = self.nodes.pop(self.dice.randrange(len(self.nodes)))
        node.settle()
        node.die()
        self.nodes.append(Flapping(self.redis.url(), self.dice))

    def stop_a_node(self):
        node = self.nodes.pop(self.dice.randrange(len(self.nodes)))
        node.settle()
        node.end()
        self.nodes.append(Flapping(self.redis.url(), self.dice))

    def restart_redis(self):
        self.redis.kill()
        self.flap(20)
        self.redis.start()

    def flap(self, times):
        for _ in range(times):
            self.dice.choice(self.nodes).step()
            if self.dice.random() < 0.3:
                pause(self.dice.choice([0, 0.001, 0.01]))

    def check(self):
        """At rest, every watcher on every node knows what the books say."""
        for node in self.nodes:
            node.settle()
        online = {listener.user.id for node in self.nodes for listener in node.listeners}
        until(
            f"agreement on {online}",
            lambda: all(node.broker.connected and node.agrees(online) for node in self.nodes),
            LONGEST,
        )


@pytest.mark.parametrize("seed", range(2))
def test_at_rest_everybody_knows_what_is_true(own_redis, seed):  # noqa: F811
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    cluster = Cluster(own_redis, dice)
    faults = [
        cluster.lose_a_connection,
        cluster.lose_a_lease,
        cluster.kill_a_node,
        cluster.stop_a_node,
        cluster.restart_redis,
    ]
    dice.shuffle(faults)
    for fault in faults:
        cluster.flap(60)
        fault()
        cluster.flap(30)
        cluster.check()
    for node in cluster.nodes:
        node.end()
    assert own_redis.keys("reverb") == set()
