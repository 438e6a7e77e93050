"""Users come and go at random on several nodes while everything breaks that can."""

import random

import pytest

from redis_nodes import Node, own_redis, pause, until, wait  # noqa: F401
from reverb.interfaces import ChannelCounts, ChannelReaped
from reverb.protocol.messages import Member

pytestmark = pytest.mark.outside_reactor

CHANNEL = "presence-x"
USERS = [f"user{number}" for number in range(8)]


class Flapping(Node):
    """A node whose users come and go, with the test's own books of them."""

    def __init__(self, url, dice):
        super().__init__(url, lease=1)
        self.dice = dice
        self.sockets = {}
        self.pending = []
        self.start(connected=False)
        self.join(self.name)  # Somebody who stays sees all of it.
        self.seen = set()

    def step(self):
        """Let one user come or go; nobody waits for the answer."""
        if self.sockets and self.dice.random() < 0.5:
            socket_id = self.dice.choice(list(self.sockets))
            del self.sockets[socket_id]
            self.pending.append(self.store.leave("1", CHANNEL, socket_id))
            return
        socket_id = f"{self.name}.{self.dice.random()}"
        member = Member(self.dice.choice(USERS), self.dice.choice(["{}", '{"v":1}']))
        joining = self.store.join("1", CHANNEL, socket_id, member, 0)
        # Who has not come yet does not go: so it is with the hub.
        joining.addCallback(lambda _: self.sockets.update({socket_id: member.user_id}))
        self.pending.append(joining)

    def check_told(self):
        """What subscribers have been told makes sense: nobody comes twice or goes who is not."""
        for change in self.told():
            if isinstance(change, ChannelReaped):
                continue
            user_id = change[1:]
            assert (user_id in self.seen) == (change[0] == "-"), (self.name, change)
            (self.seen.add if change[0] == "+" else self.seen.remove)(user_id)


class Cluster:
    def __init__(self, redis, dice):
        self.redis, self.dice = redis, dice
        self.nodes = [Flapping(redis.url(), dice) for _ in range(3)]

    def lose_a_connection(self):
        self.dice.choice(self.nodes).link.reset("the test says so")

    def lose_a_lease(self):
        node = self.dice.choice(self.nodes)
        self.redis.ask("DEL", f"reverb:lease:{node.name}")

    def lose_the_scripts(self):
        self.redis.ask("SCRIPT", "FLUSH")

    def kill_a_node(self):
        node = self.nodes.pop(self.dice.randrange(len(self.nodes)))
        node.die()
        self.nodes.append(Flapping(self.redis.url(), self.dice))

    def stop_a_node(self):
        node = self.nodes.pop(self.dice.randrange(len(self.nodes)))
        node.stop()
        self.nodes.append(Flapping(self.redis.url(), self.dice))

    def restart_redis(self):
        self.redis.kill()
        for _ in range(20):
            self.dice.choice(self.nodes).step()
            pause(0.005)
        self.redis.start()

    def settle(self):
        for node in self.nodes:
            for deferred in node.pending:
                wait(deferred)
            node.pending.clear()

    def check(self):
        """At rest, every node and every subscriber knows what the books say."""
        self.settle()
        users = {user for node in self.nodes for user in node.sockets.values()}
        users |= {node.name for node in self.nodes}
        subscriptions = sum(len(node.sockets) + 1 for node in self.nodes)

        def agreed():
            return all(
                node.broker.connected
                and node.view() == users
                and set(node.members()) == users
                and wait(node.store.counts("1", CHANNEL))
                == ChannelCounts(subscriptions, len(users))
                for node in self.nodes
            )

        until(f"agreement on {users}, {subscriptions}", agreed, 12)
        for node in self.nodes:
            node.check_told()
            assert node.seen == users


@pytest.mark.parametrize("seed", range(3))
def test_at_rest_everybody_knows_what_is_true(own_redis, seed):  # noqa: F811
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    cluster = Cluster(own_redis, dice)
    faults = [
        cluster.lose_a_connection,
        cluster.lose_a_lease,
        cluster.lose_the_scripts,
        cluster.kill_a_node,
        cluster.stop_a_node,
        cluster.restart_redis,
    ]
    dice.shuffle(faults)
    for fault in faults:
        for _ in range(60):
            dice.choice(cluster.nodes).step()
            if dice.random() < 0.3:
                pause(dice.choice([0, 0.001, 0.01]))
        fault()
        for _ in range(30):
            dice.choice(cluster.nodes).step()
            if dice.random() < 0.3:
                pause(0.001)
        if dice.random() < 0.5:
            cluster.check()
    cluster.check()
    for node in cluster.nodes:
        node.stop()
    assert own_redis.keys("reverb") == set()
