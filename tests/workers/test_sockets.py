"""The supervisor binds each address, and the workers listen on inherited sockets."""

import os
import socket
from types import SimpleNamespace

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from reverb.workers import sockets
from reverb.workers.sockets import Binder, InheritedSockets, SocketsError

from .fakes import Reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def bind(reactor):
    bounds = []

    def bind(endpoint, count=3):
        bounds.append(Binder(reactor, count).bind(endpoint))
        return bounds[-1]

    yield bind
    for bound in bounds:
        bound.close()
    reactor.advance(0)


def address_of(descriptor):
    assert not os.get_blocking(descriptor)
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return sock.getsockname()


class TestBinder:
    def test_tcp_has_a_socket_for_each_worker(self, bind, reactor):
        bound = bind(LOOPBACK)

        descriptors = [bound.descriptor(number) for number in (1, 2, 3)]
        assert len(set(descriptors)) == 3
        address = bound.port.getHost()
        assert {address_of(fd) for fd in descriptors} == {(address.host, address.port)}
        assert not reactor.reading

    def test_the_socket_of_a_single_worker_is_exclusive(self, bind):
        port = bind(LOOPBACK, 1).port.getHost().port

        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))

    def test_other_sockets_are_shared(self, bind, tmp_path, reactor):
        path = tmp_path / "socket"
        bound = bind(f"unix:{path}")

        assert len({bound.descriptor(number) for number in (1, 2, 3)}) == 1
        assert address_of(bound.descriptor(1)) == str(path)
        assert not reactor.reading

    @pytest.mark.parametrize("endpoint", [f"haproxy:{LOOPBACK}", "tcp6:0:interface=\\:\\:1"])
    def test_endpoints_that_wrap_tcp_have_a_socket_for_each_worker(self, bind, endpoint):
        bound = bind(endpoint)

        assert len({bound.descriptor(number) for number in (1, 2, 3)}) == 3

    def test_an_address_that_is_already_bound_is_refused(self, bind):
        port = bind(LOOPBACK).port.getHost().port

        with pytest.raises(CannotListenError):
            bind(f"tcp:{port}:interface=127.0.0.1")

    @pytest.mark.parametrize("outcome", [succeed("no socket"), fail(ValueError("odd"))])
    def test_an_endpoint_without_a_socket_is_refused(self, bind, monkeypatch, outcome):
        endpoint = SimpleNamespace(listen=lambda _: outcome)
        monkeypatch.setattr(sockets, "serverFromString", lambda _, __: endpoint)

        with pytest.raises(SocketsError, match="several workers cannot share endpoint 'odd:'"):
            bind("odd:")


class TestInheritedSockets:
    def test_a_worker_listens_on_the_inherited_socket(self, bind, reactor):
        bound = bind(LOOPBACK)
        inherited = os.dup(bound.descriptor(2))

        port = InheritedSockets(reactor, inherited).listenTCP(
            1, Factory(), backlog=5, interface="x"
        )

        assert port.getHost() == bound.port.getHost()
        assert reactor.reading == {port}
        # The reactor duplicated the descriptor and closed this one.
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.close(inherited)
        port.stopListening()
        reactor.advance(0)
        assert address_of(bound.descriptor(2))

    def test_the_file_of_a_unix_socket_stays_unchanged(self, bind, reactor, tmp_path):
        path = tmp_path / "socket"
        bound = bind(f"unix:{path}:mode=600")
        inherited = InheritedSockets(reactor, os.dup(bound.descriptor(1)))

        port = inherited.listenUNIX("elsewhere", Factory(), mode=0o666)

        assert port.getHost() == bound.port.getHost()
        assert reactor.reading == {port}
        port.stopListening()
        reactor.advance(0)
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
