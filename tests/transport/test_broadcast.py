"""The fan-out to many clients, on real sockets."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from reverb.hub.channel import Frame, FrameBatch
from reverb.protocol.frames import compressed_text_frame, text_frame
from reverb.testing import MemoryConnection, parse_frame
from reverb.transport.broadcast import BroadcastTarget
from reverb.transport.deflate import inflate
from reverb.transport.outbox import SocketTable
from tests.support.outboxes import Owner, direct_outbox

MIN_BYTES = 500


class Client:
    """Both ends of a connection: a subscriber for the server, and the client's socket."""

    def __init__(self, sockets, *, compresses=False):
        ours, self.socket = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        self.socket.setblocking(False)
        self.compresses = compresses
        self.transport = tcp.Server(ours, Protocol(), ("x", 1), None, 1, MemoryReactorClock())
        self.owner = Owner()
        self.outbox = direct_outbox(self.transport, sockets, 100_000, self.owner)

    def send_batch(self, batch):
        self.outbox.send(batch.plain)

    def read(self):
        """Read all messages, including those that are queued in the transport."""
        data = b""
        while True:
            try:
                part = self.socket.recv(65_536)
            except OSError:
                part = b""
            data += part
            if self.transport.connected:
                self.transport.doWrite()
            if not part:
                return list(payloads(data))

    def lose(self):
        """Lose the connection in the order of Twisted: the socket closes first."""
        self.transport.connectionLost(Failure(ConnectionError("gone")))
        self.outbox.detach()

    def end(self):
        self.socket.close()
        if self.transport.connected:
            self.lose()


def payloads(data):
    while data:
        compressed = data[0] & 0x40
        _, payload, data = parse_frame(data)
        yield (inflate(payload, 0) if compressed else payload).decode()


def batch(*texts):
    return FrameBatch([Frame(text.encode(), None) for text in texts])


class Room:
    """A channel's clients. Every second one accepts compressed frames."""

    def __init__(self, count):
        self.sockets = SocketTable()
        self.clients = [Client(self.sockets, compresses=n % 2 == 1) for n in range(count)]
        self.subscribers = {str(number): client for number, client in enumerate(self.clients)}
        self.broadcast = BroadcastTarget(self.subscribers, self.sockets, MIN_BYTES)

    def end(self):
        for client in self.clients:
            client.end()


@pytest.fixture
def make_room():
    rooms = []

    def make(count):
        rooms.append(Room(count))
        return rooms[-1]

    yield make
    for room in rooms:
        room.end()


def test_all_subscribers_receive_every_frame_in_order(make_room):
    room = make_room(3)
    room.broadcast.send(batch("a", "b"), ())
    room.broadcast.send(batch("c"), ())

    assert [client.read() for client in room.clients] == [["a", "b", "c"]] * 3


def test_excluded_subscribers_receive_nothing(make_room):
    room = make_room(3)
    room.broadcast.send(batch("a"), [room.clients[1]])

    assert [client.read() for client in room.clients] == [["a"], [], ["a"]]


def test_send_returns_the_number_of_bytes(make_room):
    room = make_room(4)
    other, left_out = MemoryConnection("1.1"), MemoryConnection("2.2")
    room.subscribers |= {"x": other, "y": left_out}
    room.broadcast.subscribers_changed()
    large = "a" * MIN_BYTES
    plain, compressed = (len(f(large.encode())) for f in (text_frame, compressed_text_frame))
    assert room.broadcast.send(batch(large), ()) == 4 * plain + 2 * compressed
    but = [left_out, room.clients[0], room.clients[1]]
    assert room.broadcast.send(batch(large), but) == 2 * plain + compressed
    room.clients[2].outbox.queue(b"")  # Queued bytes count as sent.
    assert room.broadcast.send(batch(large), but) == 2 * plain + compressed


def test_subscribers_without_a_plain_socket_receive_frames(make_room):
    room = make_room(1)
    other, left_out = MemoryConnection("1.1"), MemoryConnection("2.2")
    room.subscribers |= {"x": other, "y": left_out}
    room.broadcast.subscribers_changed()
    room.broadcast.send(batch("a"), [left_out])

    assert other.payloads() == [b"a"]
    assert left_out.payloads() == []
    assert room.clients[0].read() == ["a"]


def test_a_slow_reader_receives_all_frames_in_order_and_does_not_delay_others(make_room):
    room = make_room(3)
    texts = [f"{number:02}" * 1000 for number in range(20)]
    slow, fast = room.clients[0], room.clients[1:]
    got = [[] for _ in fast]
    for text in texts:
        room.broadcast.send(batch(text), ())
        for client, taken in zip(fast, got, strict=True):
            taken.extend(client.read())
    assert slow.transport.fileno() in room.sockets.busy
    slow.transport.doWrite()

    assert got == [texts] * 2
    assert slow.read() == texts
    room.broadcast.send(batch("last"), ())
    assert slow.read() == ["last"]
    assert room.sockets.busy == {}


def test_a_client_that_does_not_read_overflows_once(make_room):
    room = make_room(2)
    for _ in range(300):
        room.broadcast.send(batch("x" * 1000), ())
        room.clients[1].read()

    assert [client.owner.times for client in room.clients] == [1, 0]


def test_nothing_is_sent_to_a_closed_outbox(make_room):
    room = make_room(2)
    room.clients[0].outbox.close()
    room.broadcast.send(batch("a"), ())

    assert [client.read() for client in room.clients] == [[], ["a"]]


def test_a_broken_connection_does_not_affect_others(make_room):
    room = make_room(3)
    room.clients[0].socket.close()
    room.broadcast.send(batch("a"), ())
    room.broadcast.send(batch("b"), ())

    assert [client.read() for client in room.clients[1:]] == [["a", "b"]] * 2


def test_the_next_owner_of_a_descriptor_receives_nothing_for_the_previous_one(make_room):
    """Also if the channel has not been notified that a subscriber left."""
    room = make_room(2)
    room.broadcast.send(batch("a"), ())
    lost = room.clients[0]
    descriptor = lost.outbox.descriptor
    lost.lose()
    next_owner = Client(room.sockets)
    room.clients.append(next_owner)
    if next_owner.outbox.descriptor != descriptor:
        pytest.skip("the kernel did not reuse the descriptor")
    room.broadcast.send(batch("secret"), ())

    assert next_owner.read() == []
    assert room.clients[1].read() == ["a", "secret"]


def test_a_publication_is_compressed_once_for_all_clients_that_accept_it(make_room, monkeypatch):
    made = []

    def make(payload):
        made.append(payload)
        return compressed_text_frame(payload)

    monkeypatch.setattr("reverb.protocol.frames.compressed_text_frame", make)
    room = make_room(6)
    large, small = "x" * MIN_BYTES, "y" * (MIN_BYTES - 1)
    room.broadcast.send(batch(large, small), ())

    for client in room.clients:
        data = client.socket.recv(65_536)
        assert (len(data) < len(large) + len(small)) == client.compresses
        assert list(payloads(data)) == [large, small]
    assert made == [large.encode()]


def test_nothing_is_compressed_without_a_client_that_accepts_it(make_room, monkeypatch):
    monkeypatch.setattr("reverb.protocol.frames.compressed_text_frame", None)
    room = make_room(1)
    room.broadcast.send(batch("x" * MIN_BYTES), ())

    assert room.clients[0].read() == ["x" * MIN_BYTES]


step = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 3), st.sets(st.integers(0, 3))),
    st.tuples(st.just("fill"), st.integers(0, 3)),
    st.tuples(st.just("read"), st.integers(0, 3)),
    st.tuples(st.just("close"), st.integers(0, 3)),
    st.tuples(st.just("lose"), st.integers(0, 3)),
)


@given(st.lists(step, max_size=30))
def test_it_sends_the_same_as_sequential_writes(steps):
    room = Room(4)
    expected, got = [[] for _ in room.clients], [[] for _ in room.clients]
    number, silent = 0, set()
    for action, which, *but in steps:
        if action == "send":
            texts = [str(number + more) * 200 for more in range(which)]
            number += which
            room.broadcast.send(batch(*texts), [room.clients[index] for index in but[0]])
            for index in {0, 1, 2, 3} - but[0] - silent:
                expected[index] += texts
        elif action == "fill" and which not in silent:
            text = "x" * 3000
            room.clients[which].outbox.send(batch(text).plain)
            expected[which].append(text)
        elif action == "read":
            got[which] += room.clients[which].read()
        elif action == "close":
            room.clients[which].outbox.close()
            silent.add(which)
        elif action == "lose" and which not in silent:
            got[which] += room.clients[which].read()
            room.clients[which].lose()
            silent.add(which)
    for index, client in enumerate(room.clients):
        got[index] += client.read()
    room.end()

    assert got == expected
