"""What our WebSocket does in Autobahn's place, and what would show that Autobahn has changed."""

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport

from reverb.transport.rfc6455 import TextServerProtocol

# Made when needed, per connection, or not at all.
ELSEWHERE = {"utf8validator", "peer", "transport", "factory", "connected"}
# For callers of Autobahn's "on", which we are not.
NOT_NEEDED = {"_results", "_valid_events"}


def set_by_autobahn():
    """What Autobahn sets on a connection before its handshake."""
    factory = WebSocketServerFactory(reactor=Clock())
    factory.openHandshakeTimeout = 0
    protocol = WebSocketServerProtocol()
    protocol.factory = factory
    protocol.makeConnection(FakeTransport(protocol, isServer=True))
    return dict(vars(protocol))


@pytest.mark.parametrize("name", sorted(set_by_autobahn().keys() - ELSEWHERE - NOT_NEEDED))
def test_all_that_autobahn_sets_is_there(name):
    theirs = set_by_autobahn()[name]
    assert hasattr(TextServerProtocol, name), f"Autobahn now sets {name} on each connection"
    options = {*WebSocketServerProtocol.CONFIG_ATTRS, "_transport_details", "log"}
    if isinstance(theirs, bool | int | bytes | None) and name not in options:
        assert getattr(TextServerProtocol, name) == theirs


@pytest.mark.parametrize("name", WebSocketServerProtocol.CONFIG_ATTRS)
def test_every_option_of_autobahn_is_on_the_class(name):
    assert hasattr(TextServerProtocol, name)


def test_an_open_connection_is_small(make_server):
    server = make_server()
    client = server.client()
    client.subscribe("news")
    (connection,) = server.service._websockets.connections
    kept = set(vars(connection))
    assert len(kept) < 20, kept
    assert not [name for name in kept if name.startswith(("http_", "websocket_"))]


def test_connections_share_no_state_of_fragmented_messages(make_server):
    server = make_server()
    one, other = server.client(), server.client()
    protocols = [*server.service._websockets.connections]
    assert protocols[0].utf8validator is not protocols[1].utf8validator
    assert protocols[0].utf8validator is protocols[0].utf8validator
    assert one.connected
    assert other.connected
