"""What a slow peer is: on real sockets, with the clock of the test."""

import socket
import sys

import pytest
from twisted.internet import tcp, unix
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tests.support.outboxes import make_slow_peers

RATE, SECONDS = 1_000, 20


class Pair:
    """A connection with queued bytes, and its peer, which reads when the test says so."""

    def __init__(self, kind, clock):
        self.clock = clock
        self.slow_peers = make_slow_peers(clock, RATE, SECONDS)
        if kind == "tcp":
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.peer = socket.socket()
                self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                self.peer.connect(listener.getsockname())
                ours, _ = listener.accept()
            kind = tcp.Server
        else:
            ours, self.peer = socket.socketpair()
            kind = unix.Server
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.transport = kind(ours, Protocol(), ("127.0.0.1", 1), None, 1, clock)
        self.reasons = []

    def queue(self, size):
        self.transport.write(b"x" * size)
        self.transport.doWrite()
        self.slow_peers.watch(self.transport, self.reasons.append)

    def pass_time(self, seconds, read):
        """Let time pass, while the peer reads a number of bytes in each second."""
        for _ in range(seconds):
            left = read
            while left:
                try:
                    part = self.peer.recv(left)
                except BlockingIOError:
                    part = b""
                self.transport.doWrite()
                if not part:
                    break
                left -= len(part)
            self.clock.advance(1)

    def end(self):
        self.peer.close()
        if self.transport.connected:
            self.transport.connectionLost(Failure(ConnectionError("the test is over")))


@pytest.fixture(params=["tcp", "unix"])
def pair(request):
    pair = Pair(request.param, MemoryReactorClock())
    yield pair
    pair.end()


@pytest.fixture
def tcp_pair():
    pair = Pair("tcp", MemoryReactorClock())
    yield pair
    pair.end()


def test_a_peer_that_reads_nothing_is_slow_after_the_timeout(pair):
    pair.queue(3_000_000)
    pair.pass_time(SECONDS, read=0)
    assert pair.reasons == []
    pair.pass_time(2, read=0)
    assert pair.reasons == ["fewer than 1000 bytes/s were read for 20 s"]
    assert len(pair.slow_peers) == 0
    pair.pass_time(50, read=0)
    assert len(pair.reasons) == 1


def test_a_peer_that_takes_a_large_message_steadily_is_not_slow(pair):
    pair.queue(3_000_000)
    pair.pass_time(200, read=4_000)
    assert pair.reasons == []
    assert len(pair.slow_peers) == 1


def test_a_peer_that_stops_in_the_middle_is_slow(pair):
    pair.queue(3_000_000)
    pair.pass_time(60, read=4_000)
    pair.pass_time(SECONDS + 22, read=0)
    assert len(pair.reasons) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not count the bytes")
def test_a_peer_that_reads_a_few_bytes_now_and_then_is_slow(tcp_pair):
    tcp_pair.queue(3_000_000)
    tcp_pair.pass_time(2 * SECONDS + 2, read=300)
    assert len(tcp_pair.reasons) == 1


def test_a_peer_that_has_read_all_is_not_watched(pair):
    pair.queue(50_000)
    pair.pass_time(3, read=200_000)
    assert len(pair.slow_peers) == 0
    pair.pass_time(100, read=0)
    assert pair.reasons == []


def test_watching_starts_again_with_the_next_bytes(pair):
    pair.queue(50_000)
    pair.pass_time(3, read=200_000)
    pair.queue(3_000_000)
    pair.pass_time(SECONDS - 2, read=0)
    assert pair.reasons == []
    pair.pass_time(4, read=0)
    assert len(pair.reasons) == 1


def test_watching_again_does_not_extend_the_time(pair):
    pair.queue(3_000_000)
    for _ in range(SECONDS + 2):
        pair.queue(10)
        pair.pass_time(1, read=0)
    assert len(pair.reasons) == 1


@pytest.mark.parametrize("rate", [0, RATE])
def test_a_connection_that_ends_leaves_nothing(pair, rate):
    pair.slow_peers = make_slow_peers(pair.clock, rate, SECONDS)
    pair.queue(3_000_000)
    assert len(pair.slow_peers) == bool(rate)
    pair.slow_peers.forget(pair.transport)
    pair.slow_peers.forget(pair.transport)
    pair.queue(10)
    pair.transport.connectionLost(Failure(ConnectionError("gone")))
    pair.clock.advance(1)
    assert len(pair.slow_peers) == 0
    pair.slow_peers.watch(pair.transport, pair.reasons.append)
    assert len(pair.slow_peers) == 0
    assert pair.reasons == []


def test_only_connections_with_waiting_bytes_are_sampled():
    clock = MemoryReactorClock()
    pairs = [Pair("tcp", clock) for _ in range(3)]
    slow_peers = pairs[0].slow_peers
    for pair in pairs:
        pair.slow_peers = slow_peers
    pairs[1].queue(3_000_000)
    assert len(slow_peers) == 1
    for pair in pairs:
        pair.end()


def test_a_transport_without_a_socket_is_slow_while_it_is_full():
    clock, reasons = MemoryReactorClock(), []
    slow_peers = make_slow_peers(clock, RATE, SECONDS)
    transport = StringTransport()
    slow_peers.watch(transport, reasons.append)
    for _ in range(SECONDS + 1):
        clock.advance(1)
    assert len(reasons) == 1
