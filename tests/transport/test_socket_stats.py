"""What the kernel tells about a socket; the private attributes are tested in test_outbox.py."""

import socket
import sys

import pytest
from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from reverb.transport.socket_stats import (
    acknowledged_bytes,
    find_descriptor,
    is_plain_tcp,
    limit_unsent_bytes,
    progress_mark,
    queued_bytes,
)


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    transport = tcp.Server(ours, Protocol(), ("127.0.0.1", 1), None, 1, MemoryReactorClock())
    yield transport, theirs
    theirs.close()
    if transport.connected:
        transport.connectionLost(Failure(ConnectionError("the test is over")))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_the_kernel_counts_what_the_peer_has_acknowledged(pair):
    transport, theirs = pair
    before = acknowledged_bytes(transport)
    transport.write(b"x" * 5_000)
    transport.doWrite()
    assert len(theirs.recv(5_000, socket.MSG_WAITALL)) == 5_000
    assert acknowledged_bytes(transport) - before == 5_000


def test_a_closed_socket_has_no_count(pair):
    transport, _ = pair
    transport.socket.close()
    assert acknowledged_bytes(transport) == 0
    assert progress_mark(transport) == (b"", 0)


def test_wrappers_such_as_tls_are_looked_through(pair):
    transport, _ = pair
    wrapper = ProtocolWrapper(WrappingFactory(None), Protocol())
    wrapper.transport = transport
    assert find_descriptor(wrapper) is transport
    assert find_descriptor(StringTransport()) is None
    assert is_plain_tcp(transport)
    assert not is_plain_tcp(wrapper)
    limit_unsent_bytes(wrapper)
    limit_unsent_bytes(StringTransport())


def test_queued_bytes_are_those_in_the_process(pair):
    transport, _ = pair
    transport.write(b"x" * 10)
    assert queued_bytes(transport) == 10
    transport.doWrite()
    assert queued_bytes(transport) == 0
