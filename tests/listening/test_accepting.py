"""A listening port accepts a bounded number of connections, and reports those that it cannot."""

import errno
import socket

import pytest
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from reverb.listening.accepting import GatedEndpoint


class Gate:
    """Allows a number of connections, and keeps the refusals."""

    def __init__(self):
        self.limit = 1_000
        self.refusals = []

    def accept_limit(self):
        return self.limit

    def record_refusal(self, reason, peer):
        self.refusals.append((reason, peer))


class Listener:
    """In place of a listening socket: has clients, or fails."""

    def __init__(self):
        self.results = []

    def accept(self):
        if not self.results:
            raise OSError(errno.EAGAIN, "no client")
        result = self.results.pop(0)
        if isinstance(result, int):
            raise OSError(result, "cannot accept")
        client, other = socket.socketpair()
        other.close()
        client.setblocking(False)
        return client, result


class Site:
    """A gated port without a network.

    Attributes:
        accepted: The addresses of the accepted clients.
    """

    def __init__(self):
        self.gate = Gate()
        self.listener = Listener()
        self.accepted = []
        factory = Factory.forProtocol(Protocol)
        factory.buildProtocol = self.accepted.append
        self.port = tcp.Port(0, factory, reactor=MemoryReactorClock())
        self.port.socket = self.listener
        self.port.numberAccepts = 100
        GatedEndpoint(self, self.gate).listen(factory)

    def listen(self, _):
        return succeed(self.port)

    def connect(self, *results):
        """Let clients wait, given their addresses; a number is the error of their accept."""
        self.listener.results += results

    def turn(self):
        self.port.doRead()
        accepted, self.accepted[:] = list(self.accepted), []
        return len(accepted)


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def reserve(monkeypatch):
    """Replace the descriptor that Twisted keeps in reserve."""
    reservation = tcp._FileDescriptorReservation(lambda: open("/dev/null"))  # noqa: PTH123, SIM115
    reservation.reserve()
    monkeypatch.setattr(tcp, "_reservedFD", reservation)
    yield
    with reservation:
        reservation._fileFactory = lambda: None


CLIENT = ("192.0.2.1", 4711)


def test_a_turn_accepts_as_many_connections_as_the_gate_allows(site):
    site.connect(*[CLIENT] * 25)
    site.gate.limit = 10
    assert [site.turn() for _ in range(4)] == [10, 10, 5, 0]


def test_a_turn_accepts_all_connections_where_there_is_room(site):
    site.connect(*[CLIENT] * 220)
    assert [site.turn(), site.turn()] == [100, 120]


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_connection_that_cannot_be_accepted_is_reported(site, monkeypatch, log, error):
    monkeypatch.setattr(tcp, "_reservedFD", tcp._NullFileDescriptorReservation())
    site.connect(error)
    assert site.turn() == 0
    assert site.gate.refusals == [("accept_failed", None)]
    assert log.events == []


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (CLIENT, IPv4Address("TCP", *CLIENT)),
        (("2001:db8::1", 4711, 0, 0), IPv6Address("TCP", "2001:db8::1", 4711, 0, 0)),
        ("", None),
    ],
)
def test_each_connection_that_is_closed_at_the_limit_of_open_files_is_reported(
    site, reserve, log, address, peer
):
    site.connect(errno.EMFILE, address, address)
    assert site.turn() == 0
    assert site.gate.refusals == [("accept_failed", peer)] * 2
    assert log.events == []


def test_a_listener_that_is_no_socket_of_twisted_is_left_alone():
    class Endpoint:
        def listen(self, _):
            return succeed("a port")

    assert GatedEndpoint(Endpoint(), Gate()).listen(None).result == "a port"
