"""Transports inside of transports."""

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.test.iosim import FakeTransport

from reverb.testing import upgrade_request
from reverb.transport.wrapped_transport import close_socket, unwrap


class Waiting(ProtocolWrapper):
    """Waits before it closes the connection, as TLS does."""

    def loseConnection(self):
        self.transport.write(b"close alert")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_socket_is_closed_after_the_bytes_that_have_been_written(depth):
    protocol = Factory.forProtocol(Protocol).buildProtocol(None)
    for _ in range(depth):
        protocol = Waiting(WrappingFactory(Factory()), protocol)
    inner = protocol
    for _ in range(depth):
        inner = inner.wrappedProtocol
    socket = FakeTransport(protocol, isServer=True)
    protocol.makeConnection(socket)
    assert unwrap(inner.transport) is socket

    inner.transport.write(b"why")
    close_socket(inner.transport)

    assert socket.getOutBuffer() == b"why" + b"close alert" * (depth > 0)
    assert socket.disconnecting


def test_a_client_with_a_malformed_upgrade_cannot_keep_its_socket_over_tls(server):
    protocol = Waiting(WrappingFactory(Factory()), server.service.factory.buildProtocol(None))
    socket = FakeTransport(protocol, isServer=True)
    protocol.makeConnection(socket)

    upgrade = upgrade_request("/app/app-key?protocol=7")
    protocol.dataReceived(upgrade.replace(b"Version: 13", b"Version: 99"))

    assert socket.getOutBuffer().startswith(b"HTTP/1.1 400 ")
    assert socket.disconnecting
    socket.reportDisconnect()
