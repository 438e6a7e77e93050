"""Limits on what a webhook endpoint may answer, because anyone may run an endpoint.

twisted.web reads a response of any size: a head or a trailer without end, and interim responses
(1xx) without end. So the bytes of each response pass through :class:`LimitedConnection` first.
"""

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_HEAD_BYTES = 16 * 1024
"""The most bytes of a response before its body, including interim responses."""
MAX_HEAD_LINES = 100
"""The most lines of a response before its body, including interim responses."""
MAX_BODY_BYTES = 64 * 1024
"""The most bytes that follow the head: the body, chunk sizes, chunk extensions and trailers."""
CLOSE_TIMEOUT = 5.0
"""Seconds after which a connection that is closing is aborted, if the endpoint keeps it open."""
_HEAD_END = re.compile(rb"\n\r?\n")
_LONGEST_HEAD_END = 3
# The status line of RFC 9112, section 4; servers exist that leave out the second space.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] (?P<code>[1-9][0-9][0-9])[ \r\n]")
_STATUS_LINE_BYTES = 13
_INTERIM = b"1"


class ResponseLimitError(Exception):
    """A response exceeds a limit, or is not HTTP/1; the text says which."""


class LimitedConnection(ProtocolWrapper):
    """A connection of twisted.web's client that limits each response, and drops interim ones.

    A request is written at once, before any byte of its response can arrive. So each write begins a
    new response. When a response exceeds a limit, the connection is aborted, and the protocol's
    ``connectionLost`` receives a ResponseLimitError.
    """

    transport: Any

    def __init__(self, factory: "_LimitedFactory", protocol: IProtocol) -> None:
        super().__init__(factory, protocol)
        self._clock = factory.clock
        self._connections = factory.connections
        self._connections.add(self)
        self._head = bytearray()
        self._begin_response()
        self._why_aborted: ResponseLimitError | None = None
        self._abort_call: IDelayedCall | None = None

    def write(self, data: bytes) -> None:
        """Write a part of a request."""
        self._begin_response()
        super().write(data)

    def writeSequence(self, data: "list[bytes]") -> None:
        """Write a part of a request."""
        self._begin_response()
        super().writeSequence(data)

    def _begin_response(self) -> None:
        self._head.clear()
        # Where the search for the end of the head goes on.
        self._searched = 0
        self._reads_head = True
        self._head_bytes_left = MAX_HEAD_BYTES
        self._head_lines_left = MAX_HEAD_LINES
        self._body_bytes_left = MAX_BODY_BYTES

    def dataReceived(self, data: bytes) -> None:
        """Pass on the bytes that are within the limits; abort the connection at the others."""
        if self._why_aborted is not None or self.disconnecting:
            return
        try:
            if self._reads_head:
                data = self._receive_head(data)
            self._receive_body(data)
        except ResponseLimitError as error:
            self._why_aborted = error
            self.transport.abortConnection()

    def _receive_head(self, data: bytes) -> bytes:
        """Collect the head, and pass it on when it is complete; return the bytes after it."""
        self._head += data
        while end := _HEAD_END.search(self._head, self._searched):
            head = bytes(self._head[: end.end()])
            del self._head[: end.end()]
            self._searched = 0
            self._check_head(head)
            if _code(head).startswith(_INTERIM):
                self._head_bytes_left -= len(head)
                self._head_lines_left -= head.count(b"\n")
                continue
            self._reads_head = False
            rest = bytes(self._head)
            self._head.clear()
            super().dataReceived(head)
            return rest
        self._check_head(self._head)
        self._searched = max(0, len(self._head) - _LONGEST_HEAD_END)
        return b""

    def _check_head(self, head: bytes | bytearray) -> None:
        """Check a head, or its beginning."""
        if len(head) >= _STATUS_LINE_BYTES or b"\n" in head:
            _code(head)
        if len(head) > self._head_bytes_left:
            raise ResponseLimitError(f"the head of the response is over {MAX_HEAD_BYTES} bytes")
        if head.count(b"\n") > self._head_lines_left:
            raise ResponseLimitError(f"the head of the response is over {MAX_HEAD_LINES} lines")

    def _receive_body(self, data: bytes) -> None:
        self._body_bytes_left -= len(data)
        if self._body_bytes_left < 0:
            raise ResponseLimitError(f"the body of the response is over {MAX_BODY_BYTES} bytes")
        if data:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        """Close the connection; abort it if that takes too long.

        An endpoint that does not read its request, or does not end TLS, would keep it open.
        """
        super().loseConnection()
        if self._abort_call is None:
            self._abort_call = self._clock.callLater(CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        self._cancel_abort_call()
        self.transport.abortConnection()

    def _cancel_abort_call(self) -> None:
        call, self._abort_call = self._abort_call, None
        if call is not None and call.active():
            call.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the loss; the reason is the limit that was exceeded, if one was."""
        self._cancel_abort_call()
        self._connections.discard(self)
        super().connectionLost(reason if self._why_aborted is None else Failure(self._why_aborted))


def _code(head: bytes | bytearray) -> bytes:
    status_line = _STATUS_LINE.match(head)
    if status_line is None:
        raise ResponseLimitError("the response is not HTTP/1")
    return status_line["code"]


class _LimitedFactory(WrappingFactory[LimitedConnection]):
    """Makes limited connections, without a log line for each."""

    noisy = False

    def __init__(
        self, factory: IProtocolFactory, clock: Any, connections: set[LimitedConnection]
    ) -> None:
        super().__init__(factory)
        self.clock = clock
        self.connections = connections

    def doStart(self) -> None:
        """Do nothing: the base class starts the wrapped factory, which logs."""

    def doStop(self) -> None:
        """Do nothing, as for :meth:`doStart`."""

    def buildProtocol(self, addr: IAddress | None) -> LimitedConnection:
        """Make a limited connection around a protocol of the wrapped factory."""
        return LimitedConnection(self, self.wrappedFactory.buildProtocol(addr))


@implementer(IStreamClientEndpoint)
class LimitedEndpoint:
    """A client endpoint for twisted.web's client whose connections limit the responses.

    Args:
        endpoint: The client endpoint that connects.
        clock: The reactor, as a clock.
        connections: The connections that are open; each adds and removes itself.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, clock: Any, connections: set[LimitedConnection]
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._connections = connections

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """Connect; fires with the protocol that ``protocolFactory`` has made."""
        factory = _LimitedFactory(protocolFactory, self._clock, self._connections)
        connecting = self._endpoint.connect(factory)
        return connecting.addCallback(_unwrap)


def _unwrap(connection: Any) -> IProtocol:
    protocol: IProtocol = connection.wrappedProtocol
    return protocol
