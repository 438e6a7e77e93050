"""The pace at which the requests of an HTTP connection are read.

A client may send requests without waiting for their responses (pipelining). twisted.web alone would
read all pipelined requests at once, and would keep every response that the client does not read.
:class:`PacedChannel` limits the requests that are read, and the responses that are kept:

- While responses wait for the client, no further request is read. A client that does not read its
  responses is disconnected (:mod:`reverb.transport.slow_peers`).
- twisted.web gets one portion of the received data in each turn of the reactor.

The channel keeps at most some 80 KB of data that is not read yet. To receive no more data, the
channel pauses the transport.
"""

from typing import Any, NamedTuple

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from reverb.meter import Meter
from reverb.transport.client_address import make_address
from reverb.transport.connection_log import ConnectionLog
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeers
from reverb.transport.socket_stats import find_descriptor, limit_unsent_bytes, queued_bytes

_REQUESTS_PER_TURN = 8
_BYTES_PER_TURN = 8_192
_MAX_KEPT_BYTES = 16_384
"""The unread bytes above which the transport is paused while a request waits for its response.

Until the transport is paused, the server notices at once that the client has disconnected.
"""


class Pacing(NamedTuple):
    """The objects that all HTTP channels of a node share."""

    round_robin: RoundRobin
    slow_peers: SlowPeers
    meter: Meter
    connection_log: ConnectionLog


class PacedChannel(HTTPChannel):
    """An HTTP channel that reads requests at a bounded pace.

    Args:
        pacing: The objects that all HTTP channels of a node share.
    """

    transport: Any
    paused: bool

    def __init__(self, pacing: Pacing) -> None:
        super().__init__()
        self._pacing = pacing
        self._unread = b""
        self._requests_read = 0
        self._reading = False
        self._scheduled = False
        self._responses_wait = False
        self._held = False
        self._network_paused = False

    @property
    def is_behind(self) -> bool:
        """Whether received bytes are not read yet, or responses wait for the client."""
        return bool(self._unread) or self._scheduled or self._responses_wait

    @property
    def unread_bytes(self) -> int:
        """The number of received bytes that the parser has not read yet."""
        return len(self._buffer) + len(self._unread)

    def connectionMade(self) -> None:
        """Limit the bytes that the kernel buffers for a client that does not read."""
        super().connectionMade()
        limit_unsent_bytes(self.transport)

    def read(self, data: bytes) -> None:
        """Pass data to twisted.web's parser, in portions."""
        self._unread += data
        self._go_on()

    def pause_reading(self) -> None:
        """Read nothing until :meth:`resume_reading` is called."""
        self._held = True
        self._control_network()

    def resume_reading(self) -> None:
        """Continue to read after :meth:`pause_reading`."""
        self._held = False
        self._go_on()

    @property
    def _must_wait(self) -> bool:
        """Whether no data may be read: responses wait, reading is paused or a handler is busy."""
        return bool(self._responses_wait or self._held or self._handlingRequest)

    def _go_on(self) -> None:
        """Read the next portion of data, unless the channel must wait.

        Then pause the transport if no more data should arrive; otherwise resume the transport.
        """
        if (self._unread or self._buffer) and not (
            self._reading or self._scheduled or self._must_wait
        ):
            self._read_portion()
        self._control_network()

    def _read_portion(self) -> None:
        self._requests_read = 0
        self.paused = False
        portion, self._unread = self._unread[:_BYTES_PER_TURN], self._unread[_BYTES_PER_TURN:]
        self._reading = True
        try:
            LineReceiver.dataReceived(self, portion)
        finally:
            self._reading = False
        more = self._unread or (self.paused and self._buffer)
        if more and not self._must_wait:
            self._scheduled = True
            self._pacing.round_robin.add(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        self._go_on()

    def discard_unread(self) -> None:
        """Drop the received bytes that are not read yet: no further request is served."""
        self._unread = b""
        self._responses_wait = self._held = False
        self.clearLineBuffer()
        self._control_network()

    def _control_network(self) -> None:
        """Pause the transport if no more data should arrive; otherwise resume the transport."""
        pause = (
            self._scheduled
            or self._responses_wait
            or self._held
            or len(self._unread) > _MAX_KEPT_BYTES
        )
        # If this attribute were False, twisted.web would resume the transport after each response.
        self._waitingForTransport = pause
        if pause != self._network_paused:
            self._network_paused = pause
            if pause:
                self._networkProducer.pauseProducing()
            else:
                self._networkProducer.resumeProducing()

    # Called by twisted.web's parser

    def allContentReceived(self) -> None:
        """Handle a complete request; read at most ``_REQUESTS_PER_TURN`` requests in one turn."""
        self._requests_read += 1
        if self._requests_read >= _REQUESTS_PER_TURN:
            self.paused = True
        super().allContentReceived()

    def setLineMode(self, extra: bytes = b"") -> None:
        """After a response, read the bytes that the client sent after the request."""
        self.line_mode = 1
        self._unread = extra + self._unread
        self._go_on()

    def requestDone(self, request: Any) -> None:
        """After a response, read the next request, or close the connection."""
        super().requestDone(request)
        if not self.persistent:
            self.discard_unread()

    def loseConnection(self) -> None:
        """Close the connection when the responses that wait for the client are sent."""
        super().loseConnection()
        self.watch_responses()

    # Responses that wait

    def pauseProducing(self) -> None:
        """Read no further request: more than 64 KB of responses wait for the client.

        The transport may call this method repeatedly.
        """
        self._responses_wait = self.paused = True
        self.watch_responses()
        self._control_network()

    def resumeProducing(self) -> None:
        """Read requests again: no response waits for the client."""
        self._responses_wait = False
        self.forget_responses()
        self._go_on()

    def watch_responses(self) -> bool:
        """If responses wait, watch whether the client is slow. Return whether responses wait."""
        descriptor = find_descriptor(self.transport)
        waits = self._responses_wait if descriptor is None else queued_bytes(descriptor) > 0
        if waits:
            self._pacing.slow_peers.watch(self.transport, self._too_slow)
        return waits

    def forget_responses(self) -> None:
        """Stop watching whether the client is slow."""
        self._pacing.slow_peers.forget(self.transport)

    def _too_slow(self, reason: str) -> None:
        self._pacing.meter.slow_http_clients += 1
        address = make_address(self.transport.getPeer())
        self._pacing.connection_log.too_slow(reason, address)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Drop the received bytes, so that no further request is read."""
        self.forget_responses()
        self._unread = b""
        self.clearLineBuffer()
        self._responses_wait = self._held = self._network_paused = False
        super().connectionLost(reason)
