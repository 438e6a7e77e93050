"""Random joins, leaves and faults: the events that an endpoint receives match the occupancy."""

import random
from functools import partial

import pytest
from twisted.internet import defer

from reverb.apps import Webhook
from reverb.protocol.messages import Member
from reverb.testing import WebhookReceiver
from tests.support.waiting import pause, until, wait
from tests.webhooks.cluster.webhook_nodes import URL, WebhookNode, app_with
from tests.webhooks.test_balance import occupancy_from

pytestmark = pytest.mark.outside_reactor

CHANNELS = ["news", "presence-x", "presence-y"]
USERS = ["ann", "bob", "cid"]


class Clients:
    """Users who join and leave at random on one node; the test records their subscriptions."""

    def __init__(self, node, dice):
        self.node, self.dice = node, dice
        self.sockets = {}
        self.requests = []
        for channel in CHANNELS:
            waiting = node.broker.subscribe("1", channel)
            if waiting is not None:
                wait(waiting)

    def step(self):
        """Have a random user join or leave, without waiting for the reply."""
        store = self.node.store
        if self.sockets and self.dice.random() < 0.55:
            socket_id = self.dice.choice(list(self.sockets))
            channel, _ = self.sockets.pop(socket_id)
            self.requests.append(store.leave("1", channel, socket_id))
            return
        channel, user = self.dice.choice(CHANNELS), self.dice.choice(USERS)
        member = Member(user, "{}") if channel.startswith("presence-") else None
        socket_id = f"{self.dice.random()}"
        joining = store.join("1", channel, socket_id, member, 0)
        # As in the hub, a subscription can end only after it is confirmed.
        joining.addCallback(lambda _: self.sockets.update({socket_id: (channel, member)}))
        self.requests.append(joining)

    def wait_for_replies(self):
        wait(defer.gatherResults(self.requests))
        self.requests.clear()

    def occupancy(self):
        present = {(channel, None) for channel, _ in self.sockets.values()}
        return present | {
            (channel, member.user_id) for channel, member in self.sockets.values() if member
        }


class Run:
    """Two nodes whose users join and leave at random, and their common endpoint."""

    def __init__(self, redis, seed):
        self.dice = random.Random(seed)  # noqa: S311 - for repeatable runs
        self.receiver = WebhookReceiver()
        app = app_with(Webhook(url=URL, batch=self.dice.random() < 0.5))
        debounce = seed % 2  # In seconds.
        self.make_node = partial(
            WebhookNode, redis.url(), self.receiver, app=app, debounce=debounce, lease=3
        )
        self.nodes = [self.make_node().start() for _ in range(2)]
        self.clients = [Clients(node, self.dice) for node in self.nodes]

    def take_random_steps(self):
        for _ in range(self.dice.randrange(8)):
            self.dice.choice(self.clients).step()
        if self.dice.random() < 0.3:
            pause(self.dice.random() * 0.7)

    def replace_a_node(self):
        """Kill a node, and start another."""
        self.wait_for_replies()
        number = self.dice.randrange(2)
        self.nodes[number].die()
        self.nodes[number] = self.make_node().start()
        self.clients[number] = Clients(self.nodes[number], self.dice)

    def wait_for_replies(self):
        for clients in self.clients:
            clients.wait_for_replies()

    def occupancy(self):
        return set().union(*(clients.occupancy() for clients in self.clients))

    def stop(self):
        for node in self.nodes:
            node.stop()


@pytest.fixture
def run(own_redis, log, seed):
    run = Run(own_redis, seed)
    yield run
    run.stop()


@pytest.mark.parametrize("seed", range(4))
def test_the_events_alternate_and_end_in_the_present_occupancy(run):
    for _ in range(30):
        run.take_random_steps()
    run.wait_for_replies()

    occupancy = run.occupancy()
    until("the occupancy is reported", lambda: occupancy_from(run.receiver.events) == occupancy)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_events_match_the_occupancy_after_nodes_lose_redis(run):
    for _ in range(30):
        run.take_random_steps()
        if run.dice.random() < 0.1:
            run.wait_for_replies()
            run.dice.choice(run.nodes).link.reset("the test says so")
    run.wait_for_replies()
    for node in run.nodes:
        node.until_connected()

    occupancy = run.occupancy()
    until("the occupancy is reported", lambda: last_reported(run.receiver.events) == occupancy)


@pytest.mark.parametrize("seed", range(2))
def test_the_last_events_match_the_occupancy_after_nodes_are_killed(run):
    for _ in range(4):
        for _ in range(5):
            run.take_random_steps()
        run.replace_a_node()
        for _ in range(3):
            run.take_random_steps()
    run.wait_for_replies()

    occupancy = run.occupancy()
    until("the occupancy is reported", lambda: last_reported(run.receiver.events) == occupancy, 40)


def last_reported(events):
    """The occupancy by the last event of each channel and user; an event may have come twice."""
    last = {(event["channel"], event.get("user_id")): event["name"] for event in events}
    return {key for key, name in last.items() if name in ("channel_occupied", "member_added")}
