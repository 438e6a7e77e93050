"""A channel of this node: who comes, who goes, and what each of them gets."""

import pytest

from reverb.hub.channel import Channel, Frame
from reverb.testing import MemoryConnection


class Clients:
    """A channel and its connections; publications wait in it until it is flushed."""

    def __init__(self):
        self.channel = Channel()
        self.connections = {}

    def expect(self, socket_id):
        self.connections[socket_id] = MemoryConnection(socket_id)
        self.channel.reserve(socket_id)

    def activate(self, socket_id):
        self.channel.activate(socket_id, self.connections[socket_id])

    def add(self, *socket_ids):
        for socket_id in socket_ids:
            self.expect(socket_id)
            self.activate(socket_id)

    def publish(self, text, exclude=None):
        for payload in text:
            self.channel.pending_frames.append(Frame(payload.encode(), exclude))

    def got(self):
        """What each connection has been sent, in order."""
        return {name: b"".join(c.payloads()).decode() for name, c in self.connections.items()}


@pytest.fixture
def clients():
    return Clients()


def test_it_starts_without_subscribers_and_with_nothing_to_send():
    channel = Channel()

    assert len(channel) == 0
    assert (channel.subscribers, channel.pending_frames) == ({}, [])


def test_channels_do_not_share_anything(clients):
    other = Channel()

    clients.add("1.1")
    clients.expect("2.2")
    clients.publish("a")

    assert (len(clients.channel), len(other)) == (2, 0)
    assert (other.subscribers, other.pending_frames) == ({}, [])


def test_what_is_pending_when_somebody_comes_is_not_for_it(clients):
    clients.add("1.1")
    clients.publish("a")
    clients.add("2.2")
    clients.publish("b")
    clients.add("3.3")
    clients.channel.flush()
    clients.publish("c")
    clients.channel.flush()

    assert clients.got() == {"1.1": "abc", "2.2": "bc", "3.3": "c"}


def test_who_comes_makes_nobody_send(clients):
    """However many come in one turn, the others get one send."""
    clients.add("1.1")
    for number in range(2, 9):
        clients.publish("a", exclude=f"{number}.1")
        clients.add(f"{number}.1")
    assert clients.connections["1.1"].frames == []
    clients.channel.flush()

    assert len(clients.connections["1.1"].frames) == 1


@pytest.mark.parametrize("flushes", ["", "a", "ab", "abc", "b", "c"])
def test_a_newcomer_gets_all_since_it_was_expected_when_it_is_welcome(clients, flushes):
    clients.publish("x")
    clients.expect("1.1")
    for payload in "abc":
        clients.publish(payload)
        clients.publish("-", exclude="1.1")
        if payload in flushes:
            clients.channel.flush()
    assert clients.got() == {"1.1": ""}

    clients.activate("1.1")
    if clients.channel.pending_frames:
        clients.channel.flush()
    assert clients.got() == {"1.1": "abc"}


def test_what_a_newcomer_awaits(clients):
    clients.publish("x")
    clients.expect("1.1")
    clients.publish("a")
    clients.channel.flush()
    clients.publish("b")
    clients.publish("c", exclude="1.1")

    awaited = [p for p in "xabcd" if clients.channel.will_receive("1.1", p.encode())]
    assert awaited == ["a", "b"]


def test_who_goes_gets_at_once_what_was_published_before(clients):
    clients.add("1.1", "2.2")
    clients.publish("a")
    clients.publish("b", exclude="1.1")
    clients.channel.remove("1.1")
    clients.publish("c")

    assert clients.got() == {"1.1": "a", "2.2": ""}
    clients.channel.flush()
    assert clients.got() == {"1.1": "a", "2.2": "abc"}


def test_who_comes_and_goes_in_one_turn_gets_what_lies_between(clients):
    clients.add("2.2")
    clients.publish("a")
    clients.add("1.1")
    clients.publish("b")
    clients.channel.remove("1.1")
    clients.publish("c")
    clients.channel.flush()

    assert clients.got() == {"1.1": "b", "2.2": "abc"}


def test_a_newcomer_that_goes_gets_nothing(clients):
    clients.expect("1.1")
    clients.publish("a")
    clients.channel.remove("1.1")
    clients.channel.flush()

    assert clients.got() == {"1.1": ""}
    assert "1.1" not in clients.channel


def test_who_has_gone_may_go_again(clients):
    clients.add("1.1")
    clients.publish("a")
    clients.channel.remove("1.1")
    clients.channel.remove("1.1")
    clients.channel.flush()

    assert clients.got() == {"1.1": "a"}
