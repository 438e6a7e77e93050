"""Users join and leave at random on several nodes, through failures of every kind."""

import random

import pytest

from reverb.interfaces import ChannelCounts
from reverb.protocol.changes import ChannelReaped
from reverb.protocol.messages import Member
from tests.support.redis_nodes import RedisNode
from tests.support.waiting import pause, until, wait

pytestmark = pytest.mark.outside_reactor

CHANNEL = "presence-x"
USERS = [f"user{number}" for number in range(8)]


class FlappingNode(RedisNode):
    """A node whose users join and leave at random; the test keeps its own record of them."""

    def __init__(self, url, rng):
        super().__init__(url, lease=1)
        self.rng = rng
        self.sockets = {}
        self.pending = []
        self.start(connected=False)
        self.join(self.name)  # A member that stays, and so sees every change.
        self.seen = set()

    def step(self):
        """Let one user join or leave, without waiting for the result."""
        if self.sockets and self.rng.random() < 0.5:
            socket_id = self.rng.choice(list(self.sockets))
            del self.sockets[socket_id]
            self.pending.append(self.store.leave("1", CHANNEL, socket_id))
            return
        socket_id = f"{self.name}.{self.rng.random()}"
        member = Member(self.rng.choice(USERS), self.rng.choice(["{}", '{"v":1}']))
        joining = self.store.join("1", CHANNEL, socket_id, member, 0)
        # Like the hub, leave only after the join is done.
        joining.addCallback(lambda _: self.sockets.update({socket_id: member.user_id}))
        self.pending.append(joining)

    def check_announcements(self):
        """Check the announced changes: only non-members join, and only members leave."""
        for change in self.member_changes():
            if isinstance(change, ChannelReaped):
                continue
            user_id = change[1:]
            assert (user_id in self.seen) == (change[0] == "-"), (self.name, change)
            (self.seen.add if change[0] == "+" else self.seen.remove)(user_id)


class Cluster:
    def __init__(self, redis, rng):
        self.redis, self.rng = redis, rng
        self.nodes = [FlappingNode(redis.url(), rng) for _ in range(3)]
        self.gone = []

    def lose_a_connection(self):
        self.rng.choice(self.nodes).link.reset("the test says so")

    def lose_a_lease(self):
        node = self.rng.choice(self.nodes)
        self.redis.ask("DEL", f"reverb:lease:{node.name}")

    def lose_the_scripts(self):
        self.redis.ask("SCRIPT", "FLUSH")

    def kill_a_node(self):
        node = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        node.die()
        self.gone.append(node)
        self.nodes.append(FlappingNode(self.redis.url(), self.rng))

    def stop_a_node(self):
        node = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        node.stop()
        self.gone.append(node)
        self.nodes.append(FlappingNode(self.redis.url(), self.rng))

    def restart_redis(self):
        self.redis.kill()
        for _ in range(20):
            self.rng.choice(self.nodes).step()
            pause(0.005)
        self.redis.start()

    def settle(self):
        """Wait for all joins and leaves: also those on nodes that are gone come to an end."""
        for node in [*self.nodes, *self.gone]:
            for deferred in node.pending:
                wait(deferred)
            node.pending.clear()

    def check(self):
        """Check that, at rest, every node and its subscribers know the recorded members."""
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
            node.check_announcements()
            assert node.seen == users


@pytest.mark.parametrize("seed", range(3))
def test_all_nodes_converge_after_failures(own_redis, seed):
    rng = random.Random(seed)  # noqa: S311 - repeatable
    cluster = Cluster(own_redis, rng)
    faults = [
        cluster.lose_a_connection,
        cluster.lose_a_lease,
        cluster.lose_the_scripts,
        cluster.kill_a_node,
        cluster.stop_a_node,
        cluster.restart_redis,
    ]
    rng.shuffle(faults)
    for fault in faults:
        for _ in range(60):
            rng.choice(cluster.nodes).step()
            if rng.random() < 0.3:
                pause(rng.choice([0, 0.001, 0.01]))
        fault()
        for _ in range(30):
            rng.choice(cluster.nodes).step()
            if rng.random() < 0.3:
                pause(0.001)
        if rng.random() < 0.5:
            cluster.check()
    cluster.check()
    for node in cluster.nodes:
        node.stop()
    cluster.settle()
    assert own_redis.keys("reverb") == set()
