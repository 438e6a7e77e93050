"""Whatever users and nodes do, what an endpoint has been told balances, and ends in the truth."""

import random
from functools import partial

import pytest
from twisted.internet import defer

from redis_nodes import own_redis, pause, until, wait  # noqa: F401 - a fixture
from reverb.apps import Webhook
from reverb.protocol.messages import Member
from reverb.testing import WebhookReceiver
from webhooks.cluster.webhook_nodes import URL, WebhookNode, app_with
from webhooks.test_balance import state_told_by

pytestmark = pytest.mark.outside_reactor

CHANNELS = ["news", "presence-x", "presence-y"]
USERS = ["ann", "bob", "cid"]


class Clients:
    """Users who come and go on one node, with the test's own books of them."""

    def __init__(self, node, dice):
        self.node, self.dice = node, dice
        self.sockets = {}
        self.asked = []
        for channel in CHANNELS:
            waiting = node.broker.subscribe("1", channel)
            if waiting is not None:
                wait(waiting)

    def step(self):
        """Let somebody come or go; nobody waits for the answer."""
        store = self.node.store
        if self.sockets and self.dice.random() < 0.55:
            socket_id = self.dice.choice(list(self.sockets))
            channel, _ = self.sockets.pop(socket_id)
            self.asked.append(store.leave("1", channel, socket_id))
            return
        channel, user = self.dice.choice(CHANNELS), self.dice.choice(USERS)
        member = Member(user, "{}") if channel.startswith("presence-") else None
        socket_id = f"{self.dice.random()}"
        joining = store.join("1", channel, socket_id, member, 0)
        # Who has not come yet does not go: so it is with the hub.
        joining.addCallback(lambda _: self.sockets.update({socket_id: (channel, member)}))
        self.asked.append(joining)

    def rest(self):
        wait(defer.gatherResults(self.asked))
        self.asked.clear()

    def truth(self):
        there = {(channel, None) for channel, _ in self.sockets.values()}
        return there | {
            (channel, member.user_id) for channel, member in self.sockets.values() if member
        }


class Run:
    """Two nodes whose users come and go at random, and one endpoint of both."""

    def __init__(self, redis, seed):
        self.dice = random.Random(seed)  # noqa: S311 - only to be repeated
        self.receiver = WebhookReceiver()
        app = app_with(Webhook(url=URL, batch=self.dice.random() < 0.5))
        debounce = seed % 2  # In seconds.
        self.make_node = partial(
            WebhookNode, redis.url(), self.receiver, app=app, debounce=debounce, lease=3
        )
        self.nodes = [self.make_node().start() for _ in range(2)]
        self.clients = [Clients(node, self.dice) for node in self.nodes]

    def some_steps(self):
        for _ in range(self.dice.randrange(8)):
            self.dice.choice(self.clients).step()
        if self.dice.random() < 0.3:
            pause(self.dice.random() * 0.7)

    def replace_a_node(self):
        """Kill a node, and start another."""
        self.rest()
        which = self.dice.randrange(2)
        self.nodes[which].die()
        self.nodes[which] = self.make_node().start()
        self.clients[which] = Clients(self.nodes[which], self.dice)

    def rest(self):
        for clients in self.clients:
            clients.rest()

    def truth(self):
        return set().union(*(clients.truth() for clients in self.clients))

    def stop(self):
        for node in self.nodes:
            node.stop()


@pytest.fixture
def run(own_redis, log, seed):  # noqa: F811
    run = Run(own_redis, seed)
    yield run
    run.stop()


@pytest.mark.parametrize("seed", range(4))
def test_each_event_is_a_change_and_the_last_leave_the_true_state(run):
    for _ in range(30):
        run.some_steps()
    run.rest()

    truth = run.truth()
    until("the truth is told", lambda: state_told_by(run.receiver.events) == truth)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_events_leave_the_true_state_though_nodes_lose_redis(run):
    for _ in range(30):
        run.some_steps()
        if run.dice.random() < 0.1:
            run.rest()
            run.dice.choice(run.nodes).store._link.reset("the test says so")
    run.rest()
    for node in run.nodes:
        node.until_connected()

    truth = run.truth()
    until("the truth is told", lambda: last_told_by(run.receiver.events) == truth)


@pytest.mark.parametrize("seed", range(2))
def test_they_do_though_nodes_are_killed(run):
    for _ in range(4):
        for _ in range(5):
            run.some_steps()
        run.replace_a_node()
        for _ in range(3):
            run.some_steps()
    run.rest()

    truth = run.truth()
    until("the truth is told", lambda: last_told_by(run.receiver.events) == truth, 40)


def last_told_by(events):
    """Who is there by the last event of each place; some events may have come twice."""
    last = {(event["channel"], event.get("user_id")): event["name"] for event in events}
    return {place for place, name in last.items() if name in ("channel_occupied", "member_added")}
