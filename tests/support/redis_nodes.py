"""Runs the Redis stores and brokers of several nodes in one process, on the real reactor."""

import itertools

import pytest
from twisted.internet import reactor

from reverb.envelope import Publication
from reverb.protocol.changes import ChannelReaped, MemberJoined, MemberLeft, StoreRestored
from reverb.protocol.messages import Member
from reverb.redis.broker import RedisBroker
from reverb.redis.link import RedisLink
from reverb.redis.url import parse_redis_url
from reverb.stores.redis.store import RedisStore
from tests.support.payloads import unwrap, wrap
from tests.support.unique import unique
from tests.support.waiting import until, wait


class LossyLink(RedisLink):
    """A link that a test may tap, or make lose messages.

    Attributes:
        loses_messages: Whether messages from the bus are lost.
        received: The messages from the bus that were not lost: the names and contents.
    """

    loses_messages = False

    def start(self, on_message):
        self.received = []

        def receive(name, message):
            if not self.loses_messages:
                self.received.append((name, message))
                on_message(name, message)

        super().start(receive)


class RedisNode:
    """One node's store and broker, with what they have delivered and reported."""

    def __init__(self, url, lease=15, name=None):
        self.name = name or unique("node")
        self.link = LossyLink(parse_redis_url(url), reactor=reactor, node=self.name)
        self.store = RedisStore(self.link, lease=lease)
        self.broker = RedisBroker(self.link, self.store.member_changed)
        self.running = True
        self.delivered = []
        self.changes = []
        self._sockets = itertools.count(1)

    def start(self, connected=True):
        wait(self.store.start(self.changes.append))
        wait(self.broker.start(self.delivered.append))
        if connected:
            self.until_connected()
        return self

    def until_connected(self):
        until("connected", lambda: self.broker.connected)

    def stop(self):
        if self.running:
            wait(self.store.stop())
            wait(self.broker.stop())
            self.running = False

    def die(self):
        """Disconnect as a killed process does, without a cleanup in Redis."""
        self.running = False
        wait(self.broker.stop())

    def subscribe(self, channel, app="1"):
        waiting = self.broker.subscribe(app, channel)
        if waiting is not None:
            wait(waiting)

    def join(self, user, channel="presence-x", info="{}", limit=0):
        """Subscribe as the hub does; return the socket's id and the store's result."""
        socket_id = f"{self.name}.{next(self._sockets)}"
        member = None if user is None else Member(user, info)
        self.subscribe(channel)
        return socket_id, wait(self.store.join("1", channel, socket_id, member, limit))

    def leave(self, socket_id, channel="presence-x"):
        return wait(self.store.leave("1", channel, socket_id))

    def view(self, channel="presence-x"):
        """Return the members that the subscribers of this node know."""
        view = self.store._local_state.replicas.get(("1", channel))
        return set() if view is None else set(view.roster)

    def members(self, channel="presence-x"):
        return dict(wait(self.store.members("1", channel)))

    def member_changes(self):
        """Take the changes reported since the last call, each as ``+ann`` or ``-ann``."""
        taken = [change for change in self.changes if change != StoreRestored()]
        self.changes[:] = [change for change in self.changes if change == StoreRestored()]
        signs = {
            MemberJoined: lambda c: f"+{c.member.user_id}",
            MemberLeft: lambda c: f"-{c.user_id}",
        }
        signs[ChannelReaped] = lambda c: c
        return [signs[type(change)](change) for change in taken]

    def publish(self, data, channel="news", exclude=None):
        return self.broker.publish(Publication("1", channel, wrap(data), exclude))

    def payloads(self):
        return [unwrap(envelope.payload) for envelope in self.delivered]


@pytest.fixture
def make_redis_node(redis):
    """Create nodes that share a prefix, and stop them after the test."""
    nodes = []
    url = redis.url(unique("test"))

    def make(*, url=url, connected=True, **more):
        nodes.append(RedisNode(url, **more))
        return nodes[-1].start(connected)

    yield make
    for node in nodes:
        node.stop()
