"""A channel on one node: adding and removing subscribers, and the frames that each receives."""

import pytest

from reverb.hub.channel import Channel
from reverb.meter import AppMeter
from reverb.protocol.frames import Frame
from reverb.testing import MemoryConnection


class Clients:
    """A channel and its connections; publications are pending until it is flushed."""

    def __init__(self):
        self.channel = Channel(AppMeter())
        self.connections = {}

    def reserve(self, socket_id):
        self.connections[socket_id] = MemoryConnection(socket_id)
        self.channel.reserve(socket_id)

    def activate(self, socket_id):
        self.connections[socket_id].writes += [
            [frame.payload] for frame in self.channel.held_frames(socket_id)
        ]
        self.channel.activate(socket_id, self.connections[socket_id])

    def add(self, *socket_ids):
        for socket_id in socket_ids:
            self.reserve(socket_id)
            self.activate(socket_id)

    def publish(self, text, exclude=None):
        for payload in text:
            self.channel.pending_frames.append(Frame(payload.encode(), exclude))

    def received(self):
        """Return the payloads that each connection has received, in order."""
        return {name: b"".join(c.payloads()).decode() for name, c in self.connections.items()}


@pytest.fixture
def clients():
    return Clients()


def test_a_channel_starts_without_subscribers_and_frames():
    channel = Channel(AppMeter())

    assert len(channel) == 0
    assert (channel.subscribers, channel.pending_frames) == ({}, [])


def test_channels_do_not_share_anything(clients):
    other = Channel(AppMeter())

    clients.add("1.1")
    clients.reserve("2.2")
    clients.publish("a")

    assert (len(clients.channel), len(other)) == (2, 0)
    assert (other.subscribers, other.pending_frames) == ({}, [])


def test_a_new_subscriber_does_not_receive_earlier_frames(clients):
    clients.add("1.1")
    clients.publish("a")
    clients.add("2.2")
    clients.publish("b")
    clients.add("3.3")
    clients.channel.flush()
    clients.publish("c")
    clients.channel.flush()

    assert clients.received() == {"1.1": "abc", "2.2": "bc", "3.3": "c"}


def test_a_new_subscriber_causes_no_send_to_others(clients):
    """However many subscribers are added in one turn, each of the others gets one write."""
    clients.add("1.1")
    for number in range(2, 9):
        clients.publish("a", exclude=f"{number}.1")
        clients.add(f"{number}.1")
    assert clients.connections["1.1"].writes == []
    clients.channel.flush()

    assert len(clients.connections["1.1"].writes) == 1


@pytest.mark.parametrize("flushes", ["", "a", "ab", "abc", "b", "c"])
def test_a_pending_subscriber_receives_all_held_frames_when_it_is_activated(clients, flushes):
    clients.publish("x")
    clients.reserve("1.1")
    for payload in "abc":
        clients.publish(payload)
        clients.publish("-", exclude="1.1")
        if payload in flushes:
            clients.channel.flush()
    assert clients.received() == {"1.1": ""}

    clients.activate("1.1")
    if clients.channel.pending_frames:
        clients.channel.flush()
    assert clients.received() == {"1.1": "abc"}


def test_will_receive_covers_held_and_pending_frames(clients):
    clients.publish("x")
    clients.reserve("1.1")
    clients.publish("a")
    clients.channel.flush()
    clients.publish("b")
    clients.publish("c", exclude="1.1")

    awaited = [p for p in "xabcd" if clients.channel.will_receive("1.1", p.encode())]
    assert awaited == ["a", "b"]


def taken(clients, socket_id):
    return b"".join(frame.payload for frame in clients.channel.take(socket_id)).decode()


def test_a_flush_skips_the_frames_that_were_taken(clients):
    clients.add("1.1", "2.2")
    clients.publish("a")
    clients.publish("b", exclude="1.1")
    assert taken(clients, "1.1") == "a"
    assert taken(clients, "1.1") == ""
    clients.publish("c")

    clients.channel.flush()
    assert clients.received() == {"1.1": "c", "2.2": "abc"}


def test_a_flush_skips_the_subscribers_that_have_been_sent_everything(clients):
    clients.add("1.1", "2.2", "3.3")
    clients.publish("a")
    clients.publish("b", exclude="3.3")
    clients.channel.mark_sent(["1.1", "2.2", "3.3"])

    clients.channel.flush()
    assert clients.received() == {"1.1": "", "2.2": "", "3.3": ""}
    assert clients.channel.meter.messages_sent == 0


def test_a_subscriber_of_one_turn_receives_the_frames_in_between(clients):
    clients.add("2.2")
    clients.publish("a")
    clients.add("1.1")
    clients.publish("b")
    assert taken(clients, "1.1") == "b"
    clients.channel.remove("1.1")
    clients.publish("c")
    clients.channel.flush()

    assert clients.received() == {"1.1": "", "2.2": "abc"}


def test_a_removed_subscriber_receives_no_frame(clients):
    clients.add("1.1", "2.2")
    clients.publish("a")
    clients.channel.remove("1.1")
    assert taken(clients, "1.1") == ""
    clients.channel.flush()

    assert clients.received() == {"1.1": "", "2.2": "a"}


def test_a_pending_subscriber_that_leaves_receives_nothing(clients):
    clients.reserve("1.1")
    clients.publish("a")
    clients.channel.remove("1.1")
    clients.channel.flush()

    assert clients.received() == {"1.1": ""}
    assert "1.1" not in clients.channel


def test_removing_a_subscriber_twice_does_nothing(clients):
    clients.add("1.1")
    clients.publish("a")
    clients.channel.remove("1.1")
    clients.channel.remove("1.1")
    clients.channel.flush()

    assert clients.received() == {"1.1": ""}
