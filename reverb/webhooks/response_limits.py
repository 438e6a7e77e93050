"""Limits the responses of webhook endpoints, because anyone may run an endpoint.

twisted.web has no limits: it reads an endless head, an endless trailer, and any number of interim
responses (1xx). So :class:`LimitedConnection` checks the bytes of a response before twisted.web
gets the bytes.
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
"""The most bytes of a response's head and of the interim responses before it, together."""
MAX_HEAD_LINES = 100
"""The most lines of a response's head and of the interim responses before it, together."""
MAX_BODY_BYTES = 64 * 1024
"""The most bytes after a response's head: body, chunk sizes, chunk extensions and trailers."""
CLOSE_TIMEOUT = 5.0
"""Seconds within which the endpoint must close a connection too; then the connection is aborted."""
_HEAD_END = re.compile(rb"\n\r?\n")
_LONGEST_HEAD_END = 3
# The status line of RFC 9112, section 4. Some servers leave out the second space.
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] (?P<code>[1-9][0-9][0-9])[ \r\n]")
_STATUS_LINE_BYTES = 13
_INTERIM = b"1"


class ResponseLimitError(Exception):
    """A response exceeds a limit, or is not HTTP/1. The exception's text names the problem."""


class LimitedConnection(ProtocolWrapper):
    """A connection of twisted.web's client that limits each response, and drops interim responses.

    The bytes and the lines of each response are counted. The client writes the whole request before
    a byte of the response can arrive, so each write by the client resets the counts. When a
    response exceeds a limit, the connection is aborted, and the wrapped protocol's
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
        """Write a part of a request, and reset the counters of the response's bytes and lines."""
        self._begin_response()
        super().write(data)

    def writeSequence(self, data: "list[bytes]") -> None:
        """Write a part of a request, and reset the counters of the response's bytes and lines."""
        self._begin_response()
        super().writeSequence(data)

    def _begin_response(self) -> None:
        self._head.clear()
        # The index in _head from which to search for the end of the head.
        self._searched = 0
        self._reads_head = True
        self._head_bytes_left = MAX_HEAD_BYTES
        self._head_lines_left = MAX_HEAD_LINES
        self._body_bytes_left = MAX_BODY_BYTES

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes of a response to the wrapped protocol.

        If the response exceeds a limit, abort the connection instead.
        """
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
        """Collect the head of a response, and return the bytes after the head.

        The wrapped protocol receives the head when the head is complete.
        """
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
        """Raise ResponseLimitError if a head, or its beginning, breaks a limit or is not HTTP/1."""
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
        """Close the connection; abort it if it is still open after ``CLOSE_TIMEOUT`` seconds.

        Without the abort, an endpoint that does not read the request, or does not end TLS, would
        keep the connection open.
        """
        super().loseConnection()
        if self._abort_call is None:
            self._abort_call = self._clock.callLater(CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close the connection at once, without waiting for the endpoint."""
        self._cancel_abort_call()
        self.transport.abortConnection()

    def _cancel_abort_call(self) -> None:
        call, self._abort_call = self._abort_call, None
        if call is not None and call.active():
            call.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the wrapped protocol that the connection is lost.

        If the response has exceeded a limit, the reason is a ResponseLimitError.
        """
        self._cancel_abort_call()
        self._connections.discard(self)
        super().connectionLost(reason if self._why_aborted is None else Failure(self._why_aborted))


def _code(head: bytes | bytearray) -> bytes:
    status_line = _STATUS_LINE.match(head)
    if status_line is None:
        raise ResponseLimitError("the response is not HTTP/1")
    return status_line["code"]


class _LimitedFactory(WrappingFactory[LimitedConnection]):
    """Makes a :class:`LimitedConnection` around each protocol of another factory."""

    noisy = False

    def __init__(
        self, factory: IProtocolFactory, clock: Any, connections: set[LimitedConnection]
    ) -> None:
        super().__init__(factory)
        self.clock = clock
        self.connections = connections

    def doStart(self) -> None:
        """Do nothing: the base class would start the wrapped factory, which logs a line."""

    def doStop(self) -> None:
        """Do nothing: the base class would stop the wrapped factory, which logs a line."""

    def buildProtocol(self, addr: IAddress | None) -> LimitedConnection:
        """Make a :class:`LimitedConnection` around a new protocol of the wrapped factory."""
        return LimitedConnection(self, self.wrappedFactory.buildProtocol(addr))


@implementer(IStreamClientEndpoint)
class LimitedEndpoint:
    """A client endpoint for twisted.web's client, whose connections limit the responses.

    Args:
        endpoint: The client endpoint that opens the connections.
        clock: Schedules the abort of connections that do not close in time.
        connections: The set of open connections; each connection adds and removes itself.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, clock: Any, connections: set[LimitedConnection]
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._connections = connections

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """Connect; fires with the protocol that ``protocolFactory`` has made for the connection."""
        factory = _LimitedFactory(protocolFactory, self._clock, self._connections)
        connecting = self._endpoint.connect(factory)
        return connecting.addCallback(_unwrap)


def _unwrap(connection: Any) -> IProtocol:
    protocol: IProtocol = connection.wrappedProtocol
    return protocol
