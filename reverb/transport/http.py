"""HTTP connections: twisted.web with limits, a fast path, and errors as JSON."""

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from reverb.http import Handler, Request, Response
from reverb.meter import Meter
from reverb.transport.fast_request import FastRequestHead, parse_fast_request
from reverb.transport.http_request import ParsedRequest
from reverb.transport.http_response import encode_error, encode_response
from reverb.transport.outbox import send_now
from reverb.transport.paced_channel import PacedChannel, Pacing
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeerLimits, SlowPeers
from reverb.transport.socket_stats import is_plain_tcp
from reverb.transport.timing_wheel import TimingWheel

_LINGER_TIMEOUT = 5
"""Seconds from an error response to an incomplete request until the server aborts the connection,
if the client has not closed it. They let a client that is still sending read the response."""


class HttpLimits(NamedTuple):
    """The limits of HTTP connections."""

    timeout: int
    """Seconds that a connection may be idle, or take to send a request."""
    max_request_bytes: int
    """The maximum size of a request's body in bytes; 0 for no limit."""
    max_request_head_bytes: int
    """The maximum size of a request's head in bytes."""
    slow_peers: SlowPeerLimits = SlowPeerLimits()
    """When a client is too slow."""


class _PartialRequest:
    """A request of the fast path whose body is not complete yet."""

    def __init__(self, head: FastRequestHead, data: bytes) -> None:
        self.head = head
        self._segments = [data]
        self._length = len(data)

    @property
    def complete(self) -> bool:
        return self._length >= self.head.body_end

    def add(self, data: bytes) -> None:
        self._segments.append(data)
        self._length += len(data)

    def data(self) -> bytes:
        return b"".join(self._segments)


class _PendingResponse:
    """The place of a fast-path request among the channel's requests, until it has a response."""

    def __init__(self, channel: "HttpChannel") -> None:
        self._channel: HttpChannel | None = channel

    def connectionLost(self, reason: Failure) -> None:
        """Drop the response: the client has disconnected."""
        self._channel = None

    def send(self, response: Response) -> None:
        """Send the response, and let the channel read the next request."""
        if self._channel is not None:
            self._channel.send(response)
            self._channel.requestDone(self)


class HttpChannel(PacedChannel):
    """One HTTP connection.

    Args:
        handle: Handles the requests.
        limits: The limits of the connection.
        reactor: The reactor, or a test's clock.
        pacing: What the channels of a node share.

    Attributes:
        handle: Handles the requests.
        limits: The limits of the connection.
        refused: Whether a request has been refused before it was complete. The channel then reads
            and discards further bytes, so that the client receives the error response.
    """

    requestFactory = ParsedRequest
    requests: list[Any]
    timeOut: int | None
    callLater: Callable[..., Any]
    transport: Any  # Twisted's annotation allows None, and lacks some of the methods used here.

    def __init__(
        self, handle: Handler, limits: HttpLimits, *, reactor: Any, pacing: Pacing
    ) -> None:
        super().__init__(pacing)
        self.handle = handle
        self.limits = limits
        self.refused = False
        self.timeOut = limits.timeout
        self.totalHeadersSize = self.MAX_LENGTH = limits.max_request_head_bytes
        self.callLater = reactor.callLater
        self._meter = pacing.meter
        self._partial: _PartialRequest | None = None
        self._is_plain_tcp = False

    @property
    def idle(self) -> bool:
        """Whether the next byte begins a new request."""
        return not (
            self.requests or self._buffer or self._partial or self.refused or self.is_behind
        )

    def connectionMade(self) -> None:
        """Prepare to read the first request of the connection."""
        super().connectionMade()
        self._is_plain_tcp = is_plain_tcp(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Read requests.

        Only the first bytes of a request reset the timeout, so a slow sender cannot extend it.
        """
        if self.refused:
            return
        idle = self.idle
        if idle:
            self.resetTimeout()
        partial = self._partial
        if partial is not None:
            partial.add(data)
            if not partial.complete:
                return
            self._partial = None
            self._read_request(partial.head, partial.data())
        elif not idle:
            self.read(data)
        else:
            self._read_request(parse_fast_request(data), data)

    def _read_request(self, head: FastRequestHead | None, data: bytes) -> None:
        """Read a request from its beginning.

        twisted.web reads it if the fast path cannot (``head`` is None), if other requests follow
        in the same data (pipelining), or if the body is too large.
        """
        max_bytes = self.limits.max_request_bytes
        if (
            head is None
            or len(data) > head.body_end
            or (max_bytes and head.body_end - head.body_start > max_bytes)
        ):
            self.read(data)
        elif len(data) < head.body_end:
            self._partial = _PartialRequest(head, data)
        else:
            self._respond(head.complete(data[head.body_start :]))

    def _respond(self, request: Request) -> None:
        """Respond to a request of the fast path, at once or when the handler's coroutine returns.

        Meanwhile the channel is in the state in which twisted.web waits for a response: it keeps
        the bytes of the following requests.
        """
        response = self.handle(request)
        if isinstance(response, Response):
            self.send(response)
            return
        running = Deferred.fromCoroutine(response)
        if running.called:
            running.addCallback(self.send)
            return
        pending = _PendingResponse(self)
        self.requests.append(pending)
        self._handlingRequest = True
        self._savedTimeOut = self.setTimeout(None)
        self.setRawMode()
        running.addCallback(pending.send)

    def send(
        self,
        response: Response,
        *,
        version: str = "1.1",
        close: bool = False,
        has_body: bool = True,
    ) -> None:
        """Send a complete response. The arguments are those of :func:`encode_response`."""
        self._count(response.status)
        data = encode_response(response, version=version, close=close, has_body=has_body)
        if self._is_plain_tcp:
            send_now(self.transport, data)
        else:
            self.transport.write(data)

    def refuse(self, status: int, message: str) -> None:
        """Send an error response to an incomplete request, and close the connection.

        Does nothing if a request has been refused already.
        """
        if self.refused:
            return
        self.refused = True
        self._count(status)
        self.transport.write(encode_error(status, message))
        self.transport.unregisterProducer()
        self.discard_unread()
        if is_plain_tcp(self.transport):
            # Closing both directions while the client is sending would reset the connection, and
            # the client would not receive the response.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self.setTimeout(_LINGER_TIMEOUT)

    def _count(self, status: int) -> None:
        self._meter.responses[status] += 1

    def lineReceived(self, line: bytes) -> None:
        """Read a line of the head, unless the request has been refused."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Read a part of the body, unless the request has been refused."""
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Process a complete request, unless it has been refused."""
        if not self.refused:
            super().allContentReceived()

    def timeoutConnection(self) -> None:
        """Close a connection that was idle, or whose client took too long to send a request.

        Abort it if a request has been refused and the client has not closed it since.
        """
        if self.refused:
            self.transport.abortConnection()
        elif self.watch_responses():
            self.setTimeout(self.timeOut)  # It is not idle: it reads, or is found to be slow.
        elif self.requests or self._partial:
            self.refuse(408, f"No complete request within {self.timeOut} seconds")
        else:
            self.loseConnection()
            self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # twisted.web's own response has neither a body nor a length.
        self.refuse(400, "Bad request: not a well-formed HTTP/1.1 request")


class HttpFactory(Factory):
    """Makes the channels of HTTP connections.

    Args:
        handle: Handles the requests.
        limits: The limits of each connection.
        timing_wheel: Schedules the checks of clients that do not read.
        reactor: The reactor, or a test's clock.
        meter: Counts the responses.
    """

    noisy = False

    def __init__(
        self,
        handle: Handler,
        limits: HttpLimits,
        timing_wheel: TimingWheel,
        *,
        reactor: Any,
        meter: Meter,
    ) -> None:
        self._handle = handle
        self._limits = limits
        self._reactor = reactor
        slow_peers = SlowPeers(timing_wheel, limits.slow_peers)
        self._pacing = Pacing(RoundRobin(reactor), slow_peers, meter)

    def buildProtocol(self, addr: object) -> HttpChannel:
        """Make a channel for one connection."""
        return HttpChannel(self._handle, self._limits, reactor=self._reactor, pacing=self._pacing)
