"""What the tests of watchlists share: what clients were told, and nodes of one deployment."""

from reverb.brokers.local import LocalBroker
from reverb.envelope import Publication

from .conftest import Node, limited
from .slow_store import SlowStore

WATCHING = limited(watchlists=True)


def told(client):
    """Take what a client was told of those it watches, each event as (online, offline)."""
    events = [data["events"] for event, _, data in client.take() if event == "watchlist_events"]
    return [pair_of(groups) for groups in events]


def pair_of(groups):
    by_name = {group["name"]: group["user_ids"] for group in groups}
    assert len(by_name) == len(groups)
    assert set(by_name) <= {"online", "offline"}
    assert all(by_name.values())
    return by_name.get("online", []), by_name.get("offline", [])


def sign_in(node, user_id, watchlist=None, app=WATCHING):
    """Connect a client, and sign it in."""
    client = node.connect(app)
    client.sign_in(user_id, watchlist)
    return client


class SharedBroker(LocalBroker):
    """Brings hints to the other nodes that want them, unless they get lost.

    Attributes:
        loses: Whether everything is lost on the way to the others.
        connected: Whether it claims to be connected.
    """

    def __init__(self, brokers):
        super().__init__()
        self.brokers = brokers
        brokers.append(self)
        self.wanted = set()
        self.loses = False
        self.connected = True

    def subscribe(self, app_id, channel):
        self.wanted.add((app_id, channel))

    def unsubscribe(self, app_id, channel):
        self.wanted.remove((app_id, channel))

    def publish(self, envelope):
        for broker in [] if self.loses else self.brokers:
            wanted = not isinstance(envelope, Publication) or (
                (envelope.app_id, envelope.channel) in broker.wanted
            )
            if broker is not self and wanted:
                broker._deliver(envelope)
        super().publish(envelope)


def make_nodes(count=2):
    """Make nodes that share a store, the slow one, and their broker."""
    brokers = []
    first = Node(make_store=SlowStore, broker=SharedBroker(brokers))
    others = [
        Node(make_store=lambda _: first.store, broker=SharedBroker(brokers))
        for _ in range(count - 1)
    ]
    return [first, *others]


class Alone(SlowStore):
    """A store that cannot reach the other nodes when the test says so."""

    alone = False

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name != "occupied":
            return method

        def left_out(answer):
            return {c: True for c, is_so in answer.items() if is_so} if self.alone else answer

        return lambda *arguments: method(*arguments).addCallback(left_out)
