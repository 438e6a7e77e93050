"""TextServerProtocol overrides Autobahn: these tests fail when Autobahn changes."""

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport

from reverb.transport.rfc6455 import TextServerProtocol
from tests.support.memory_servers import connections_of

# Made on demand, or set on each connection.
NOT_ON_THE_CLASS = {"utf8validator", "peer", "transport", "factory", "connected"}
# For callers of Autobahn's "on" method, which is not used.
NOT_NEEDED = {"_results", "_valid_events"}


def set_by_autobahn():
    """Return the attributes that Autobahn sets on a connection before its handshake."""
    factory = WebSocketServerFactory(reactor=Clock())
    factory.openHandshakeTimeout = 0
    protocol = WebSocketServerProtocol()
    protocol.factory = factory
    protocol.makeConnection(FakeTransport(protocol, isServer=True))
    return dict(vars(protocol))


@pytest.mark.parametrize("name", sorted(set_by_autobahn().keys() - NOT_ON_THE_CLASS - NOT_NEEDED))
def test_attributes_that_autobahn_sets_are_on_the_class(name):
    theirs = set_by_autobahn()[name]
    assert hasattr(TextServerProtocol, name), f"Autobahn now sets {name} on each connection"
    options = {*WebSocketServerProtocol.CONFIG_ATTRS, "_transport_details", "log"}
    if isinstance(theirs, bool | int | bytes | None) and name not in options:
        assert getattr(TextServerProtocol, name) == theirs


@pytest.mark.parametrize("name", WebSocketServerProtocol.CONFIG_ATTRS)
def test_every_option_of_autobahn_is_on_the_class(name):
    assert hasattr(TextServerProtocol, name)


def test_an_open_connection_has_few_attributes(make_server):
    server = make_server()
    client = server.client()
    client.subscribe("news")
    (connection,) = connections_of(server)
    kept = set(vars(connection))
    assert len(kept) < 20, kept
    assert not [name for name in kept if name.startswith(("http_", "websocket_"))]


def test_connections_share_no_state_of_fragmented_messages(make_server):
    server = make_server()
    one, other = server.client(), server.client()
    protocols = [*connections_of(server)]
    assert protocols[0].utf8validator is not protocols[1].utf8validator
    assert protocols[0].utf8validator is protocols[0].utf8validator
    assert one.connected
    assert other.connected
