"""The checker finds every message that is lost, doubled, misordered or garbled."""

from array import array
from itertools import permutations

import pytest

from bench.frames import PING
from bench.ledger import GarbledError, Ledger, MemberLedger, MessageKey
from bench.results import RowFailedError
from bench.stream import Stream, Tally
from bench.subscriber import Subscriber

from .fakes import FakeClient, event, server_frame

PLENTY = 12


class Channel:
    """A stream with subscribers, and the frames of published messages."""

    def __init__(self, subscribers=3):
        self.tally = Tally()
        self.stream = Stream(["c"], Ledger(60), self.tally)
        self.clients = [FakeClient(number) for number in range(subscribers)]
        self.subscribers = [Subscriber(client, self.stream) for client in self.clients]

    def publish(self, messages, publisher=0):
        return [event("bench", self.stream.ledger.issue(publisher, 0)) for _ in range(messages)]

    def problem(self):
        (problem,) = self.stream.problems()
        return problem


@pytest.fixture
def channel():
    return Channel()


def test_nothing_is_wrong_when_all_receive_all(channel):
    frames = channel.publish(3)
    for client in channel.clients:
        client.receive(*frames)
    assert channel.stream.problems() == []
    assert channel.tally.completed == 3


@pytest.mark.parametrize("size", [1, 7, 50, 101, 1_000])
def test_it_does_not_matter_how_the_bytes_are_cut_into_pieces(channel, size):
    data = b"".join(channel.publish(PLENTY))
    for number, client in enumerate(channel.clients):
        step = size + number
        client.receive(*(data[start : start + step] for start in range(0, len(data), step)))
    assert channel.stream.problems() == []
    assert channel.tally.completed == PLENTY


def test_subscribers_overtake_each_other(channel):
    data = b"".join(channel.publish(PLENTY))
    first, second, third = channel.clients
    first.receive(data[:150])
    second.receive(data[:40])
    third.receive(data[:200], data[200:])
    second.receive(data[40:170], data[170:])
    assert channel.tally.completed == 1
    first.receive(data[150:])
    assert channel.stream.problems() == []
    assert channel.tally.completed == PLENTY


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
    ("received", "words"),
    [
        ([0, 2, 3], "lost message 1 of publisher 0"),
        ([0, 3], "lost message 1 of publisher 0 and 1 more"),
        ([0, 1, 1, 2, 3], "got message 1 of publisher 0 twice (doubled)"),
        ([0, 1, 2, 0, 3], "got message 0 of publisher 0 twice (doubled)"),
        ([0, 2, 1, 3], "got message 1 of publisher 0 after a later one (misordered)"),
        ([3, 0, 1, 2], "got message 0 of publisher 0 after a later one (misordered)"),
    ],
)
def test_what_one_subscriber_gets_wrong_is_named(channel, who, received, words):
    frames = channel.publish(4)
    for number, client in enumerate(channel.clients):
        client.receive(*([frames[index] for index in received] if number == who else frames))
    assert channel.tally.astray == 1
    assert channel.problem() == f"channel c: subscriber {who} {words}"


def test_every_order_but_the_right_one_is_found():
    for order in permutations(range(4)):
        channel = Channel()
        frames = channel.publish(4)
        channel.clients[0].receive(*frames)
        channel.clients[1].receive(b"".join(frames[index] for index in order))
        channel.clients[2].receive(*frames)
        assert bool(channel.stream.problems()) == (order != (0, 1, 2, 3))


def test_the_last_message_is_lost_for_some(channel):
    *most, last = channel.publish(3)
    for client in channel.clients:
        client.receive(*most)
    channel.clients[2].receive(last)
    assert channel.problem() == "channel c: lost the last 1 messages for 2 subscribers"


def test_a_message_is_lost_for_all(channel):
    frames = channel.publish(2)
    for client in channel.clients:
        client.receive(frames[0])
    assert channel.problem() == "channel c: lost 1 of 2 messages: they reached nobody"


def test_publishers_may_overtake_each_other_for_all_alike(channel):
    frames = channel.publish(2, publisher=0) + channel.publish(2, publisher=1)
    for client in channel.clients:
        client.receive(frames[2], frames[0], frames[3], frames[1])
    assert channel.stream.problems() == []


def test_but_not_differently_for_each(channel):
    frames = channel.publish(1, publisher=0) + channel.publish(1, publisher=1)
    channel.clients[0].receive(*frames)
    channel.clients[1].receive(*reversed(frames))
    channel.clients[2].receive(*frames)
    assert "another order than other subscribers" in channel.problem()


def test_a_garbled_message_is_found(channel):
    (frame,) = channel.publish(1)
    with pytest.raises(GarbledError, match="never published"):
        channel.clients[0].receive(frame.replace(b"order", b"0rder"))


def test_a_message_that_nobody_published_is_found(channel):
    with pytest.raises(GarbledError, match="never published"):
        channel.clients[0].receive(event("bench", "0.5.x"))


def test_what_is_not_json_is_found(channel):
    with pytest.raises(GarbledError, match="not a message"):
        channel.clients[0].receive(server_frame(b"{"))


def test_pings_between_and_inside_of_pieces_change_nothing(channel):
    one, two, three = channel.publish(3)
    ping = server_frame(b"", 0x89)
    channel.clients[0].receive(one, two, three)
    channel.clients[1].receive(ping, one[:10], one[10:] + ping + two[:5], two[5:], ping + three)
    channel.clients[2].receive(one + two + ping, three)
    assert [frame.opcode for frame in channel.clients[1].controls] == [PING] * 3
    assert len(channel.clients[2].controls) == 1
    assert channel.stream.problems() == []
    assert channel.tally.completed == 3


def test_messages_of_the_protocol_change_nothing(channel):
    one, two = channel.publish(2)
    asked = event("pusher:ping", "{}")
    channel.clients[0].receive(one, two)
    channel.clients[1].receive(one + asked, two)
    channel.clients[2].receive(asked, one, two)
    assert channel.clients[1].messages == channel.clients[2].messages
    assert channel.stream.problems() == []


def test_a_closed_connection_fails_the_row(channel):
    with pytest.raises(RowFailedError, match="client 1: the server closed"):
        channel.clients[1].receive(b"")


def test_latencies_are_those_of_each_delivery(channel):
    channel.tally.latencies = array("d")
    frames = channel.publish(2)
    channel.clients[0].receive(*frames)
    channel.clients[1].receive(b"".join(frames))
    assert len(channel.tally.latencies) == 4


def test_who_leaves_is_waited_for_no_more(channel):
    frames = channel.publish(2)
    channel.subscribers[2].leave()
    for client in channel.clients[:2]:
        client.receive(*frames)
    assert channel.tally.completed == 2
    assert channel.stream.problems() == []


def test_what_all_have_received_is_forgotten():
    channel = Channel()
    channel.stream.ledger = Ledger(400_000)
    for _ in range(PLENTY):
        (frame,) = channel.publish(1)
        for client in channel.clients:
            client.receive(frame[:1_000], frame[1_000:])
    assert len(channel.stream.data) < PLENTY * 400_000 / 2
    assert channel.tally.completed == PLENTY
    assert channel.stream.problems() == []


def test_members_are_messages_too():
    ledger = MemberLedger(1)
    user_id = ledger.issue(0, 0)
    joined = b'{"event":"pusher_internal:member_added","data":"{\\"user_id\\":\\"%b\\"}"}'
    assert ledger.recognize(joined % user_id.encode()) == MessageKey(0, 0)
    assert ledger.recognize(b'{"event":"bench","data":"0.0."}') is None
    with pytest.raises(GarbledError):
        ledger.recognize(joined % b"somebody")
