"""The multiplexer: serves WebSocket and HTTP on one port.

The multiplexer reads the head of each request. If the request asks for a WebSocket, the multiplexer
turns the connection into a :class:`PusherConnection`. Otherwise, the multiplexer passes the request
to an HTTP channel.

The multiplexer lets no ``twisted.web`` channel read upgrades to WebSocket, for three reasons. After
twisted.web, Autobahn would have to parse the same upgrade again. The ``twisted.web`` channel would
stay in memory as long as the WebSocket. And twisted.web's copy of the headers could make a header
valid that an attacker has hidden in the value of another header.
"""

import math
import re
from collections import OrderedDict
from contextlib import suppress
from itertools import islice
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.listening.first_bytes import find_wrong_protocol_on_plain_port
from reverb.transport.descriptors import SocketBudget
from reverb.transport.factory import PusherFactory
from reverb.transport.fast_upgrade import parse_fast_upgrade
from reverb.transport.http import HttpChannel, HttpFactory
from reverb.transport.http_head import HeadError, parse_head
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport.websocket import PusherConnection

_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*+:[^\r\n]*websocket", re.IGNORECASE)
# Autobahn splits a head with str.splitlines, which splits at this byte as well. A cookie in UTF-8
# may contain the byte, so the byte is replaced. No header that the server reads contains the byte.
_NEXT_LINE = b"\x85"
_MAX_COMMAS = 31
"""The most commas in a list of subprotocols or extensions. Clients offer one or two elements.
More elements would cost much time, because Autobahn parses each element in Python."""
_MAX_ACCEPTS = 1_000
"""The most connections that a port accepts in one turn of the reactor."""
_MAX_EXAMINED = 100
"""The most connections that are examined to find one that may be aborted for a new one."""


class MultiplexingProtocol(Protocol):
    """A connection that is not a WebSocket: a new connection, or a connection for HTTP."""

    factory: "MultiplexingFactory"
    transport: Any  # Twisted's annotation allows None, and lacks some of the methods used here.

    def connectionMade(self) -> None:
        """Wait for the head of a request, for at most ``handshake_timeout`` seconds."""
        self._head: bytearray | None = None
        self._channel: HttpChannel | None = None
        has_room = self.factory.make_room()
        self.factory.http_connections[self] = None
        self._deadline = self.factory.timing_wheel.schedule(
            self.factory.handshake_timeout, self._time_out
        )
        # The server sends related bytes in one write, so Nagle's algorithm would only add delay.
        with suppress(AttributeError, OSError):  # Unix sockets do not support this option.
            self.transport.setTcpNoDelay(True)
        if not has_room:
            self.factory.record_refusal("max_sockets", self.transport.getPeer())
            self._refuse(503, "Over capacity: too many connections")

    def dataReceived(self, data: bytes) -> None:
        """Read the head of a request, then upgrade the connection or serve the request over HTTP.

        While the HTTP channel is busy with a request, the channel receives all bytes.
        """
        channel = self._channel
        if channel is not None and not channel.idle:
            channel.continue_request(data)
            return
        head: bytes | bytearray = data
        searched = 0
        if self._head:
            searched = max(0, len(self._head) - len(_END) + 1)
            self._head += data
            head = self._head
        end = head.find(_END, searched)
        # An incomplete head may end with a part of the empty line, which does not count.
        length = end if end >= 0 else len(head) - len(_END) + 1
        if end < 0 and self._channel is None and self._refuse_wrong_protocol(head):
            return
        if length > self.factory.max_request_head_bytes:
            max_bytes = self.factory.max_request_head_bytes
            self._refuse(431, f"The request's head exceeds the allowed maximum ({max_bytes} bytes)")
        elif end < 0:
            self._head = self._head or bytearray(data)
        else:
            self._head = None
            self._read_head(bytes(head), end)

    def _read_head(self, data: bytes, end: int) -> None:
        """Upgrade the connection for a WebSocket request; serve any other request over HTTP.

        Args:
            data: The bytes received so far, from the beginning of the request.
            end: The index at which the request's head ends.
        """
        if data.startswith(b"GET ") and _UPGRADE.search(data, 0, end):
            self._upgrade(data, end)
        else:
            self._serve(data)

    def _upgrade(self, data: bytes, end: int) -> None:
        """Turn the connection into a WebSocket.

        Args:
            data: The bytes received so far, from the beginning of the request.
            end: The index at which the request's head ends.
        """
        upgrade = parse_fast_upgrade(
            data[: end + 2], compression=self.factory.websockets.options.compression
        )
        if upgrade is not None:
            protocol = self._hand_over(data[: end + 2])
            protocol.accept_fast_upgrade(upgrade)
            if len(data) > end + len(_END):
                protocol.dataReceived(data[end + len(_END) :])
            return
        try:
            self._upgrade_slowly(data, end)
        except HeadError as error:
            self._refuse(error.status, error.message)

    def _upgrade_slowly(self, data: bytes, end: int) -> None:
        """Check an upgrade, and let Autobahn read the upgrade.

        Raise HeadError if the check fails.
        """
        lines = data[:end].split(b"\r\n")
        head = parse_head(lines)
        if head.length != 0:
            raise HeadError(400, "Bad upgrade: an upgrade to WebSocket has no body")
        if b"#" in head.target:
            raise HeadError(400, "Bad upgrade: the URL of a WebSocket has no fragment")
        values = head.make_request().headers
        for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"):
            if (values.get(name) or "").count(",") > _MAX_COMMAS:
                raise HeadError(400, f"Bad {name}: more than {_MAX_COMMAS + 1} elements")
        headers = [line for line in lines[1:] if not line.lower().startswith(b"origin:")]
        safe = b"\r\n".join([b"GET / HTTP/%b" % head.version, *headers]).replace(_NEXT_LINE, b"?")
        origin = values.get("origin") or ""
        protocol = self._hand_over(data[: end + 2])
        protocol.read_upgrade(safe + data[end:], head.target.decode(), origin)

    def _hand_over(self, head: bytes) -> PusherConnection:
        """Replace this protocol by a WebSocket connection, and return the connection.

        Args:
            head: The request line and the headers, each with its line end.
        """
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.detach()
        self._forget()
        protocol: PusherConnection = self.factory.websockets.buildProtocol(self.transport.getPeer())
        protocol.address = self.factory.websockets.addresses.find(self.transport, head)
        # From now on the transport calls the new protocol directly.
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.connectionLost = protocol.connectionLost  # type: ignore[method-assign]
        if isinstance(self.transport, tcp.Connection):
            self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return protocol

    def _serve(self, data: bytes) -> None:
        """Pass the bytes of a request to the HTTP channel."""
        if self._channel is None and self._refuse_wrong_protocol(data):
            return
        self._open_channel().begin_request(data)

    def _refuse_wrong_protocol(self, data: bytes | bytearray) -> bool:
        """Refuse the client if its first bytes are of another protocol than HTTP.

        Args:
            data: The bytes received so far.

        Returns:
            Whether the client has been refused.
        """
        wrong = find_wrong_protocol_on_plain_port(data)
        if wrong is None:
            return False
        self._head = None
        self.factory.record_refusal(wrong.reason, self.transport.getPeer())
        # A TLS client reports this response as a wrong version of TLS, which leads to the cause.
        self._refuse(400, wrong.message)
        return True

    def _refuse(self, status: int, message: str) -> None:
        """Send an error response, and close the connection."""
        self._open_channel().refuse(status, message)

    def _open_channel(self) -> HttpChannel:
        if self._channel is None:
            # The channel has timeouts of its own.
            self.factory.timing_wheel.cancel(self._deadline, self._time_out)
            self._channel = self.factory.http.buildProtocol(self.transport.getPeer())
            self._channel.makeConnection(self.transport)
        return self._channel

    def _time_out(self) -> None:
        """Refuse a client that has not sent the head of a request in time."""
        self._refuse(408, f"No complete request within {self.factory.handshake_timeout} seconds")

    @property
    def is_expendable(self) -> bool:
        """Whether the connection may be aborted, as no complete request waits for its response."""
        return self._channel is None or not self._channel.responding

    def abort(self) -> None:
        """Abort the connection, without sending queued bytes."""
        self._forget()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection, and notify the HTTP channel."""
        self._forget()
        if self._channel is not None:
            self._channel.connectionLost(reason)

    def _forget(self) -> None:
        self.factory.timing_wheel.cancel(self._deadline, self._time_out)
        self.factory.http_connections.pop(self, None)


@implementer(IProtocolNegotiationFactory)
class MultiplexingFactory(Factory):
    """Makes the protocol of each connection that a listening port accepts.

    Args:
        websockets: Serves the upgrades to WebSocket.
        http: Makes the channels that serve all other requests.
        timing_wheel: Schedules the timeouts of new connections.
        handshake_timeout: Seconds in which a new connection must send the head of a request.
        max_request_head_bytes: The maximum size of a request's head in bytes.
        budget: The numbers of WebSockets and other connections that the node may have open.

    Attributes:
        http_connections: The open connections that are not WebSockets, the oldest first.
    """

    protocol = MultiplexingProtocol  # type: ignore[assignment] # a class is such a callable
    noisy = False

    def __init__(
        self,
        *,
        websockets: PusherFactory,
        http: HttpFactory,
        timing_wheel: TimingWheel,
        handshake_timeout: int,
        max_request_head_bytes: int,
        budget: SocketBudget,
    ) -> None:
        self.websockets = websockets
        self.http = http
        self.timing_wheel = timing_wheel
        self.handshake_timeout = handshake_timeout
        self.max_request_head_bytes = max_request_head_bytes
        self._budget = budget
        # An OrderedDict finds its first item at once; a dict would skip all removed items first.
        self.http_connections: OrderedDict[MultiplexingProtocol, None] = OrderedDict()

    def make_room(self) -> bool:
        """Abort an old connection if the node has too many connections to accept a new one.

        Only a connection on which no complete request waits for its response is aborted. So clients
        that never send a complete request cannot keep clients of the API out.

        Returns:
            Whether there is room for the new connection.
        """
        if self._room() > 0:
            return True
        for connection in islice(self.http_connections, _MAX_EXAMINED):
            if connection.is_expendable:
                self.record_refusal("max_sockets", connection.transport.getPeer())
                connection.abort()
                return True
        return False

    def _room(self) -> float:
        """Return how many more connections the budget allows; infinity if there is no limit."""
        if not self._budget.max_connections:
            return math.inf
        count = len(self.http_connections) + len(self.websockets.connections)
        return self._budget.max_connections - count

    def accept_limit(self) -> int:
        """Return the number of connections that a port may accept in one turn of the reactor.

        The server reads the first request of an accepted connection in the next turn. Because of
        the limit, a connection that :meth:`make_room` aborts has had time to send a request.

        The socket of an aborted connection stays open until the next turn of the reactor; with
        asyncio's reactor, the socket stays open for one turn more.
        """
        return int(min(max(self._room(), self._budget.max_http // 4, 1), _MAX_ACCEPTS))

    def record_refusal(self, reason: str, peer: IAddress | None) -> None:
        """Count and log a connection that was closed before its request was read."""
        self.websockets.record_refusal(reason, peer)

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols for ALPN over TLS (RFC 7301).

        The only protocol is HTTP/1.1, because a WebSocket begins as an HTTP/1.1 request (RFC 6455).
        """
        return [b"http/1.1"]

    def abort_all(self) -> None:
        """Abort every connection that is not a WebSocket."""
        for connection in list(self.http_connections):
            connection.abort()
