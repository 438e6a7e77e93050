"""One port, two protocols: the front door.

It reads the head of each request. An upgrade to WebSocket goes to the Autobahn
factory, with the Origin header renamed; all else goes to the API's site. Reading
both from one ``twisted.web`` channel would parse each upgrade twice, keep the
channel alive as long as the socket, and re-serialize headers in which an
attacker may have hidden others.
"""

import re
from contextlib import suppress
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.transport.factory import PusherFactory
from reverb.transport.fast_upgrade import parse_fast_upgrade
from reverb.transport.http import ApiChannel, ApiSite
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport.websocket import ORIGIN, PusherConnection

_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*websocket", re.IGNORECASE)
_ORIGIN = re.compile(rb"\r\norigin[ \t]*:", re.IGNORECASE)
# Autobahn splits a head wherever Python's str.splitlines does, so that such a
# byte would let one header pass for two.
_SMUGGLING = re.compile(rb"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n|\r\n[ \t]")
_NEXT_LINE = b"\x85"


class MultiplexingProtocol(Protocol):
    """One connection, until it is known what the client wants."""

    factory: "MultiplexingFactory"
    transport: Any  # Twisted's annotation admits None and knows only half of it

    def connectionMade(self) -> None:
        """Wait for a request's head, but not for ever."""
        self._head = b""
        self._channel: ApiChannel | None = None
        self.factory.doors.add(self)
        self._due = self.factory.timing_wheel.schedule(self.factory.handshake_timeout, self._late)
        # What is sent together is written together: to wait for more only delays.
        with suppress(AttributeError, OSError):  # A Unix socket has no such option.
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Read heads; everything else of a request goes straight to the channel."""
        channel = self._channel
        if channel is not None and not channel.idle:
            channel.dataReceived(data)
            return
        head = self._head = self._head + data if self._head else data
        end = head.find(_END)
        # What has come of the empty line at the end does not count yet.
        length = end if end >= 0 else len(head) - len(_END) + 1
        if length > self.factory.max_request_head_bytes:
            most = self.factory.max_request_head_bytes
            self._refuse(431, f"The request's head exceeds the allowed maximum ({most} bytes)")
        elif end >= 0:
            self._head = b""
            if head.startswith(b"GET ") and _UPGRADE.search(head, 0, end):
                self._upgrade(head, end)
            else:
                self._serve(head)

    def _upgrade(self, data: bytes, end: int) -> None:
        """Have a WebSocket take the connection, with all that has been read."""
        upgrade = parse_fast_upgrade(
            data[: end + 2], compression=self.factory.websockets.compression
        )
        if upgrade is not None:
            protocol = self._hand_over()
            protocol.accept_fast_upgrade(upgrade)
            if len(data) > end + len(_END):
                protocol.dataReceived(data[end + len(_END) :])
            return
        if _SMUGGLING.search(data, 0, end):
            self._refuse(400, "Bad request: control characters or folded lines in the head")
            return
        head = _ORIGIN.sub(b"\r\n%b:" % ORIGIN.encode(), data[:end])
        # This byte may stand in a cookie in UTF-8; no header that is read has it.
        data = head.replace(_NEXT_LINE, b"?") + data[end:]
        self._hand_over().dataReceived(data)

    def _hand_over(self) -> PusherConnection:
        """Put a WebSocket in this protocol's place."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.setTimeout(None)
            self.transport.unregisterProducer()
        self._leave()
        protocol: PusherConnection = self.factory.websockets.buildProtocol(self.transport.getPeer())
        # From here on the transport's calls reach the new protocol directly.
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.connectionLost = protocol.connectionLost  # type: ignore[method-assign]
        if isinstance(self.transport, tcp.Connection):
            self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return protocol

    def _serve(self, data: bytes) -> None:
        """Let the API read a request."""
        self._open_channel().dataReceived(data)

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer a head that is not obeyed, and end the connection."""
        self._open_channel().refuse(status, sentence)

    def _open_channel(self) -> ApiChannel:
        if self._channel is None:
            # The channel has timeouts of its own.
            self.factory.timing_wheel.cancel(self._due, self._late)
            self._channel = self.factory.site.make_channel()
            self._channel.makeConnection(self.transport)
        return self._channel

    def _late(self) -> None:
        """Give up on a client that has not sent a request's head in time."""
        self._refuse(408, f"No complete request within {self.factory.handshake_timeout} seconds")

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._leave()
        if self._channel is not None:
            self._channel.connectionLost(reason)

    def _leave(self) -> None:
        self.factory.timing_wheel.cancel(self._due, self._late)
        self.factory.doors.discard(self)


@implementer(IProtocolNegotiationFactory)
class MultiplexingFactory(Factory):
    """Stands at the listening port.

    Args:
        websockets: Takes the upgrades.
        site: Takes all other requests.
        deadlines: Looks at clients that send nothing.
        handshake_timeout: Seconds that a new connection has to send a head.
        max_request_head_bytes: Bytes of one request's head.

    Attributes:
        doors: The connections that are not WebSockets.
    """

    protocol = MultiplexingProtocol  # type: ignore[assignment] # a class is the callable it asks for
    noisy = False

    def __init__(
        self,
        *,
        websockets: PusherFactory,
        site: ApiSite,
        timing_wheel: TimingWheel,
        handshake_timeout: int,
        max_request_head_bytes: int,
    ) -> None:
        self.websockets = websockets
        self.site = site
        self.timing_wheel = timing_wheel
        self.handshake_timeout = handshake_timeout
        self.max_request_head_bytes = max_request_head_bytes
        self.doors: set[MultiplexingProtocol] = set()

    def acceptableProtocols(self) -> list[bytes]:
        """Agree on HTTP/1.1 over TLS: WebSockets begin as nothing else (RFC 7301, RFC 6455)."""
        return [b"http/1.1"]

    def abort_all(self) -> None:
        """Cut every connection that is not a WebSocket."""
        for door in list(self.doors):
            door.abort()
