"""Helpers for the tests of watchlists: clients that sign in, and nodes of one cluster."""

from reverb.brokers.local import LocalBroker
from reverb.envelope import Publication

from .conftest import Node, limited
from .slow_store import SlowStore

WATCHING = limited(watchlists=True)


def watchlist_events(client):
    """Remove and return a client's watchlist events, each as (online, offline)."""
    events = [data["events"] for event, _, data in client.take() if event == "watchlist_events"]
    return [pair_of(groups) for groups in events]


def pair_of(groups):
    by_name = {group["name"]: group["user_ids"] for group in groups}
    assert len(by_name) == len(groups)
    assert set(by_name) <= {"online", "offline"}
    assert all(by_name.values())
    return by_name.get("online", []), by_name.get("offline", [])


def sign_in(node, user_id, watchlist=None, app=WATCHING):
    """Connect a client and sign it in."""
    client = node.connect(app)
    client.sign_in(user_id, watchlist)
    return client


class SharedBroker(LocalBroker):
    """A broker that delivers publications to the nodes with interest, unless it loses them.

    Attributes:
        loses: Whether all publications to other nodes are lost.
        connected: Whether the broker reports that it is connected.
    """

    def __init__(self, brokers):
        super().__init__()
        self.brokers = brokers
        brokers.append(self)
        self.interest = set()
        self.loses = False
        self.connected = True

    def subscribe(self, app_id, channel):
        self.interest.add((app_id, channel))

    def unsubscribe(self, app_id, channel):
        self.interest.remove((app_id, channel))

    def publish(self, envelope):
        for broker in [] if self.loses else self.brokers:
            delivers = not isinstance(envelope, Publication) or (
                (envelope.app_id, envelope.channel) in broker.interest
            )
            if broker is not self and delivers:
                broker._deliver(envelope)
        super().publish(envelope)


def make_nodes(count=2):
    """Create nodes that share a slow store and a broker."""
    brokers = []
    first = Node(make_store=SlowStore, broker=SharedBroker(brokers))
    others = [
        Node(make_store=lambda _: first.store, broker=SharedBroker(brokers))
        for _ in range(count - 1)
    ]
    return [first, *others]


class DegradableStore(SlowStore):
    """A store that can be put into degraded mode, in which it knows this node only."""

    degraded = False

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name != "occupied":
            return method

        def occupied_here(answer):
            if not self.degraded:
                return answer
            return {channel: True for channel, occupied in answer.items() if occupied}

        return lambda *arguments: method(*arguments).addCallback(occupied_here)
