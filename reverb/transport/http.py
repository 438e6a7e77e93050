"""HTTP connections: twisted.web with limits, a fast path, and errors as JSON."""

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from reverb.http import Handler, Request, Response
from reverb.meter import Meter
from reverb.transport.connection_log import ConnectionLog
from reverb.transport.fast_request import FastRequestHead, parse_fast_request
from reverb.transport.http_body import BodyBudget, BodyReceiver, Outcome, apply_answer
from reverb.transport.http_head import HeadError, HeadReader, RequestHead
from reverb.transport.http_request import FramedRequest
from reverb.transport.http_response import encode_response, make_error
from reverb.transport.outbox import send_now
from reverb.transport.paced_channel import PacedChannel, Pacing
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeerLimits, SlowPeers
from reverb.transport.socket_stats import is_plain_tcp
from reverb.transport.timing_wheel import TimingWheel

_LINGER_TIMEOUT = 5
"""Seconds in which a client whose incomplete request was refused can read the error response; then
the server aborts the connection."""
_LINGER_BYTES = 4_194_304
"""The most bytes that the server discards after a refusal; then the server stops reading."""


class HttpLimits(NamedTuple):
    """The limits of HTTP connections."""

    timeout: int
    """Seconds that a connection may be idle, or take to send a request."""
    max_request_bytes: int
    """The maximum size of a request's body in bytes; 0 for no limit."""
    max_request_head_bytes: int
    """The maximum size of a request's head in bytes."""
    max_total_request_bytes: int
    """The maximum total size of the bodies that are being received, in bytes; 0 for no limit."""
    slow_peers: SlowPeerLimits = SlowPeerLimits()
    """The rate below which a client reads its responses too slowly."""


class _PendingResponse:
    """A request of the fast path that waits for its response, in the channel's ``requests``."""

    def __init__(self, channel: "HttpChannel") -> None:
        self._channel: HttpChannel | None = channel

    def connectionLost(self, reason: Failure) -> None:
        """Make :meth:`send` drop the response, because the client has disconnected."""
        self._channel = None

    def send(self, response: Response) -> None:
        """Send the response, and let the channel read the next request."""
        if self._channel is not None:
            self._channel.send(response)
            self._channel.requestDone(self)


class HttpChannel(PacedChannel):
    """One HTTP connection.

    The channel parses the heads of requests, with the fast path or
    :mod:`reverb.transport.http_head`. If twisted.web reads a request, twisted.web gets the body and
    only the headers that delimit the body.

    Args:
        handle: Handles the requests.
        limits: The limits of the connection.
        reactor: The reactor, or a test's clock.
        pacing: The objects that all HTTP channels of a node share.
        bodies: Limits the total size of the bodies that the node is receiving.

    Attributes:
        handle: Handles the requests.
        bodies: Limits the total size of the bodies that the node is receiving.
        head: The head of the latest request that was passed to twisted.web.
        refused: Whether an incomplete request has been refused. After a refusal, the channel reads
            and discards further bytes, so that the client receives the error response.
    """

    requestFactory = FramedRequest
    requests: list[Any]
    timeOut: int | None
    callLater: Callable[..., Any]
    transport: Any  # Twisted's annotation allows None, and lacks some of the methods used here.
    head: RequestHead

    def __init__(
        self,
        handle: Handler,
        limits: HttpLimits,
        *,
        reactor: Any,
        pacing: Pacing,
        bodies: BodyBudget,
    ) -> None:
        super().__init__(pacing)
        self.handle = handle
        self.bodies = bodies
        self.refused = False
        self.timeOut = limits.timeout
        self.MAX_LENGTH = limits.max_request_head_bytes
        self.callLater = reactor.callLater
        self._limits = limits
        self._meter = pacing.meter
        self._head_reader = HeadReader(limits.max_request_head_bytes)
        self._receiver: BodyReceiver | None = None
        self._discarded = 0
        self._is_plain_tcp = False

    @property
    def idle(self) -> bool:
        """Whether the next byte from the client begins a new request."""
        return not (
            self.requests
            or self._receiver
            or self._buffer
            or self._head_reader.lines
            or self.is_behind
            or self.refused
            or not self.persistent
        )

    @property
    def _has_partial_head(self) -> bool:
        """Whether only a part of the next request's head has been read."""
        return bool(self._buffer or self._head_reader.lines)

    @property
    def _has_ended(self) -> bool:
        """Whether the connection is closing because its last request has been answered."""
        return not (self.persistent or self.requests)

    @property
    def responding(self) -> bool:
        """Whether a complete request waits for its response."""
        return bool(self._handlingRequest)

    def connectionMade(self) -> None:
        """Open the channel, and record whether its transport is plain TCP."""
        super().connectionMade()
        self._is_plain_tcp = is_plain_tcp(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Begin a request, or read more of it."""
        (self.begin_request if self.idle else self.continue_request)(data)

    def begin_request(self, data: bytes) -> None:
        """Read a request from its first byte, and reset the timeout; call this while ``idle``."""
        self.resetTimeout()
        self._read_request(parse_fast_request(data), data)

    def continue_request(self, data: bytes) -> None:
        """Read more of a request, without resetting the timeout; call this while not ``idle``."""
        if self.refused or self._has_ended:
            self._discard(data)
        elif self._receiver is not None and not self.requests:
            self._read_body(self._receiver, data)
        else:
            self.read(data)

    def _read_request(self, head: FastRequestHead | None, data: bytes) -> None:
        """Read a request, whose first bytes are in ``data``.

        twisted.web reads the request if the fast path cannot parse the head (``head`` is None), or
        if ``data`` contains bytes of further requests (pipelining).
        """
        max_bytes = self._limits.max_request_bytes
        if head is None or len(data) > head.body_end:
            self.read(data)
        elif len(data) == head.body_end and not 0 < max_bytes < len(data) - head.body_start:
            answer = self.handle(head.make_request())
            self._respond(apply_answer(answer, data[head.body_start :]))
        else:
            receiver = self.receive_body(head.make_request(), head.length, self._respond)
            receiver.start()
            receiver.add(data[head.body_start :])

    def receive_body(
        self, request: Request, length: int | None, respond: Callable[[Outcome], None]
    ) -> BodyReceiver:
        """Make the receiver of a body; the arguments are those of :class:`BodyReceiver`."""
        max_bytes = self._limits.max_request_bytes
        self._receiver = BodyReceiver(self, request, length, max_bytes=max_bytes, respond=respond)
        return self._receiver

    def has_received(self, length: int | None) -> bool:
        """Return whether a body of this length has been received together with its head."""
        return length is not None and length <= self.unread_bytes

    def _read_body(self, receiver: BodyReceiver, data: bytes) -> None:
        """Read a part of the body of a request whose head the fast path has parsed."""
        missing = receiver.missing
        receiver.add(data[:missing])
        if len(data) >= missing:
            receiver.finish()
            if len(data) > missing:
                self.read(data[missing:])

    def _respond(self, outcome: Outcome) -> None:
        """Respond to a request of the fast path, at once or when the handler's coroutine returns.

        Until the response is sent, the HTTP channel parses no further request.
        """
        self._receiver = None
        if isinstance(outcome, Response):
            self.send(outcome)
            return
        running = Deferred.fromCoroutine(outcome)
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
        """Send an error response to an incomplete request, and close the connection."""
        self.refuse_with(make_error(status, message))

    def refuse_with(self, response: Response) -> None:
        """Send a response to an incomplete request, and close the connection.

        Does nothing if a request has been refused already.
        """
        if self.refused:
            return
        self.refused = True
        self._close_receiver()
        self.setRawMode()  # Discard the rest of the data, without looking for lines.
        self._count(response.status)
        self.transport.write(encode_response(response, close=True))
        self.transport.unregisterProducer()
        self.discard_unread()
        if is_plain_tcp(self.transport):
            # Closing both directions while the client is sending would reset the connection, and
            # the client would not receive the response.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self.setTimeout(_LINGER_TIMEOUT)

    def _discard(self, data: bytes) -> None:
        """Discard received bytes; stop reading when more than ``_LINGER_BYTES`` are discarded."""
        self._discarded += len(data)
        if self._discarded > _LINGER_BYTES:
            self.pause_reading()

    def _close_receiver(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.close()

    def _count(self, status: int) -> None:
        self._meter.responses[status] += 1

    def send_continue(self) -> None:
        """Ask the client to send the body."""
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def lineReceived(self, line: bytes) -> None:
        """Read a line of a request's head.

        When the head is complete, pass its :meth:`RequestHead.framing_lines` to twisted.web.
        """
        if self.refused or self._has_ended:
            self.setRawMode()  # Discard the rest of the data, without looking for lines.
            return
        try:
            head = self._head_reader.add(line)
        except HeadError as error:
            self.refuse(error.status, error.message)
            return
        if head is not None:
            self.head = head
            for framing_line in head.framing_lines():
                super().lineReceived(framing_line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a request because one line is longer than the maximum size of a head."""
        error = self._head_reader.too_large()
        self.refuse(error.status, error.message)

    def rawDataReceived(self, data: bytes) -> None:
        """Read a part of the body, unless the request has been refused."""
        if self.refused or self._has_ended:
            self._discard(data)
        else:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Process a complete request, unless it has been refused."""
        if not self.refused:
            self._receiver = None
            super().allContentReceived()

    def detach(self) -> None:
        """Release the transport for another protocol. The channel must be :attr:`idle`."""
        self.setTimeout(None)
        self.transport.unregisterProducer()
        self.forget_responses()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drop an incomplete body, and tell the unanswered requests that the client is gone."""
        self._close_receiver()
        super().connectionLost(reason)

    def timeoutConnection(self) -> None:
        """Close a connection that was idle, or whose client took too long to send a request.

        If a request has been refused, abort the connection.
        """
        if self.refused:
            self.transport.abortConnection()
        elif self.watch_responses():
            self.setTimeout(self.timeOut)  # SlowPeers aborts it if its client reads too slowly.
        elif self.requests or self._receiver or self._has_partial_head:
            self.refuse(408, f"No complete request within {self.timeOut} seconds")
        else:
            self.loseConnection()
            self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)

    def forceAbortClient(self) -> None:
        """Abort a connection that has not closed in time. Unlike Twisted's method, log nothing."""
        self._abortingCall = None
        self.transport.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # twisted.web's own response has neither a body nor a length.
        self.refuse(400, "Bad request: malformed chunks in the body")


class HttpFactory(Factory):
    """Makes an :class:`HttpChannel` for each HTTP connection.

    Args:
        handle: Handles the requests.
        limits: The limits of each connection.
        timing_wheel: Schedules the checks for clients that read too slowly.
        reactor: The reactor, or a test's clock.
        meter: Counts the responses, and the clients that are disconnected as too slow.
        connection_log: Logs the clients that are disconnected as too slow.

    Attributes:
        bodies: Limits the total size of the bodies that the node is receiving.
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
        connection_log: ConnectionLog,
    ) -> None:
        self.bodies = BodyBudget(limits.max_total_request_bytes)
        self._handle = handle
        self._limits = limits
        self._reactor = reactor
        slow_peers = SlowPeers(timing_wheel, limits.slow_peers)
        self._pacing = Pacing(RoundRobin(reactor), slow_peers, meter, connection_log)

    def buildProtocol(self, addr: object) -> HttpChannel:
        """Make an :class:`HttpChannel` for one connection."""
        return HttpChannel(
            self._handle,
            self._limits,
            reactor=self._reactor,
            pacing=self._pacing,
            bodies=self.bodies,
        )
