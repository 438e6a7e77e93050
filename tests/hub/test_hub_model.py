"""The hub, with its turns and coalesced frames, sends the messages that a naive hub sends."""

import socket
from collections import defaultdict
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock

from reverb.protocol.frames import text_frame
from reverb.testing import parse_frame
from reverb.transport.broadcast import BroadcastTarget
from reverb.transport.deflate import inflate
from reverb.transport.outbox import SocketTable
from tests.support.outboxes import Owner, direct_outbox

from .conftest import APP, OTHER, TTL, Node
from .naive import NaiveHub

CHANNELS = ["news", "private-x", "cache-x", "private-cache-x", "presence-x", "presence-cache-x"]
APPS = [msgspec.structs.replace(app, client_events_per_second=0) for app in (APP, OTHER)]
USERS = [(0, "ann"), (0, "ann"), (0, "bob"), (0, "eve"), (1, "ann")]
"""The app and the user of each client."""

who = st.integers(0, len(USERS) - 1)
where = st.sampled_from(CHANNELS)
step = st.one_of(
    st.tuples(st.just("subscribe"), who, where),
    st.tuples(st.just("subscribe"), who, where),
    st.tuples(st.just("unsubscribe"), who, where),
    st.tuples(st.just("publish"), st.integers(0, 1), where, st.none() | who),
    st.tuples(st.just("client_event"), who, where),
    st.tuples(st.just("reconnect"), who),
    st.tuples(st.just("wait"), st.sampled_from([0, 0, 0, 1, TTL - 1, TTL])),
)
# By default hypothesis prefers short lists, which test little.
steps = st.lists(step, max_size=10) | st.lists(step, min_size=40, max_size=80)


class SocketConnection:
    """A connection over a real socket pair; every second connection uses compression."""

    def __init__(self, sockets, number):
        self.ours, self.socket = socket.socketpair()
        for end in (self.ours, self.socket):
            end.setblocking(False)
        transport = tcp.Server(self.ours, Protocol(), ("x", 1), None, 1, MemoryReactorClock())
        self.outbox = direct_outbox(transport, sockets, 0, Owner())
        self.compresses = number % 2 == 0
        self.writes = []

    def send(self, payload):
        frame = text_frame(payload)
        self.outbox.send(frame)
        return len(frame)

    def send_batch(self, batch):
        self.outbox.send(batch.plain)

    def close(self):
        self.outbox.detach()
        self.ours.close()
        self.socket.close()

    def payloads(self):
        data = b""
        while True:
            try:
                data += self.socket.recv(65_536)
            except BlockingIOError:
                break
        payloads = []
        while data:
            compressed = data[0] & 0x40
            _, payload, data = parse_frame(data)
            payloads.append(inflate(payload, 0) if compressed else payload)
        return payloads


class SocketNode(Node):
    """A node with the real broadcast fan-out."""

    def __init__(self):
        self.sockets = SocketTable()
        self.connections = []
        make_fanout_target = partial(
            BroadcastTarget, sockets=self.sockets, compression_min_bytes=60
        )
        super().__init__(make_fanout_target=make_fanout_target)

    def make_connection(self):
        self.connections.append(SocketConnection(self.sockets, len(self.connections)))
        return self.connections[-1]

    def assert_empty(self):
        super().assert_empty()
        assert self.sockets.busy == {}
        for connection in self.connections:
            connection.close()


class HubPair:
    """The real hub and the naive hub, which perform the same steps."""

    def __init__(self, make_node):
        self.real = make_node()
        self.naive = NaiveHub(TTL)
        self.pairs = [self._connect(index) for index in range(len(USERS))]
        self.disconnected = []
        self.number = 0

    def _connect(self, index):
        app, user_id = USERS[index]
        return self.real.connect(APPS[app]), self.naive.connect(APPS[app].id, user_id)

    def step(self, action, *arguments):
        self.number += 1
        getattr(self, action)(*arguments)

    def subscribe(self, index, channel):
        real, naive = self.pairs[index]
        info = {"n": self.number}
        real.subscribe(channel, {"user_id": naive.user_id, "user_info": info})
        self.naive.subscribe(naive, channel, info)

    def unsubscribe(self, index, channel):
        real, naive = self.pairs[index]
        real.unsubscribe(channel)
        self.naive.unsubscribe(naive, channel)

    def publish(self, app, channel, excluded):
        real, naive = (None, None) if excluded is None else self.pairs[excluded]
        exclude = None if real is None else real.socket_id
        self.real.publish(channel, str(self.number), app=APPS[app], exclude=exclude)
        self.naive.publish(APPS[app].id, channel, self.number, naive)

    def client_event(self, index, channel):
        real, naive = self.pairs[index]
        real.client_event(channel, self.number)
        self.naive.client_event(naive, channel, self.number)

    def reconnect(self, index):
        real, naive = self.pairs[index]
        real.leave()
        self.naive.leave(naive)
        self.disconnected.append((real, naive))
        self.pairs[index] = self._connect(index)

    def wait(self, seconds):
        self.real.clock.advance(seconds)
        self.naive.now += seconds

    def compare(self):
        self.real.turn()
        for real, naive in [*self.pairs, *self.disconnected]:
            assert by_channel(real.take()) == dict(naive.received)
            naive.received.clear()


def by_channel(messages):
    """Group messages by channel; the ids of members are sorted, as their order is undefined."""
    received = defaultdict(list)
    for message in messages:
        name, channel, data, *_ = message
        if name == "error":
            received[None].append(name)
            continue
        if "presence" in data if isinstance(data, dict) else False:
            data["presence"]["ids"].sort()
        received[channel].append(message)
    return dict(received)


nodes = st.sampled_from([Node, SocketNode])


@pytest.mark.slow
@settings(max_examples=500)
@given(nodes, steps)
def test_every_client_receives_what_the_naive_hub_sends(make_node, sequence):
    both = HubPair(make_node)
    for step in sequence:
        both.step(*step)
    both.compare()

    for index in range(len(USERS)):
        both.reconnect(index)
    both.compare()
    for real, _ in both.pairs:
        real.leave()
    both.real.assert_empty()


@given(nodes, steps)
def test_hubs_agree_after_every_turn(make_node, sequence):
    both = HubPair(make_node)
    for step in sequence:
        both.step(*step)
        both.compare()
    for real, _ in both.pairs:
        real.leave()
    both.real.assert_empty()
