"""The pace at which the requests of an HTTP connection are read.

A client may send requests without waiting for their responses (pipelining). twisted.web would read
all of them at once, and would keep the responses of a client that does not read them. Here

- responses that wait for the client stop the reading of further requests, and a client that does
  not read them is disconnected (:mod:`reverb.transport.slow_peers`);
- twisted.web gets a portion of the data in each turn of the reactor.

What has been received meanwhile is kept, at most some 80 KB, and the transport is paused.
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
"""The bytes that are kept before the transport is paused, while a request waits for its response.

Until then the server reads, and so notices at once that the client has disconnected.
"""


class Pacing(NamedTuple):
    """What the channels of a node share."""

    round_robin: RoundRobin
    slow_peers: SlowPeers
    meter: Meter
    connection_log: ConnectionLog


class PacedChannel(HTTPChannel):
    """A channel that reads requests at a bounded pace.

    Args:
        pacing: What the channels of a node share.
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
        """Limit what the kernel keeps for a client that does not read."""
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
        """Read again."""
        self._held = False
        self._go_on()

    @property
    def _must_wait(self) -> bool:
        """Whether something has to happen before the next request or part of a body is read."""
        return bool(self._responses_wait or self._held or self._handlingRequest)

    def _go_on(self) -> None:
        """Read the next portion, if nothing has to happen before."""
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
        """Drop what was received: no further request is served."""
        self._unread = b""
        self._responses_wait = self._held = False
        self.clearLineBuffer()
        self._control_network()

    def _control_network(self) -> None:
        """Pause the transport while the channel is behind."""
        pause = (
            self._scheduled
            or self._responses_wait
            or self._held
            or len(self._unread) > _MAX_KEPT_BYTES
        )
        # Otherwise twisted.web resumes the transport after each response.
        self._waitingForTransport = pause
        if pause != self._network_paused:
            self._network_paused = pause
            if pause:
                self._networkProducer.pauseProducing()
            else:
                self._networkProducer.resumeProducing()

    # Called by twisted.web's parser

    def allContentReceived(self) -> None:
        """Handle a request; stop after some of them."""
        self._requests_read += 1
        if self._requests_read >= _REQUESTS_PER_TURN:
            self.paused = True
        super().allContentReceived()

    def setLineMode(self, extra: bytes = b"") -> None:
        """Continue after a response with the bytes that have arrived since the request."""
        self.line_mode = 1
        self._unread = extra + self._unread
        self._go_on()

    def requestDone(self, request: Any) -> None:
        """Continue with the next request, or close the connection."""
        super().requestDone(request)
        if not self.persistent:
            self.discard_unread()

    def loseConnection(self) -> None:
        """Close the connection when the client has read the responses that wait for it."""
        super().loseConnection()
        self.watch_responses()

    # Responses that wait

    def pauseProducing(self) -> None:
        """Stop reading: more than 64 KB wait for the client. The transport may repeat the call."""
        self._responses_wait = self.paused = True
        self.watch_responses()
        self._control_network()

    def resumeProducing(self) -> None:
        """Continue reading: no response waits."""
        self._responses_wait = False
        self.forget_responses()
        self._go_on()

    def watch_responses(self) -> bool:
        """Watch whether the client is slow, if responses wait; return whether they do."""
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
        """Release what is kept for the connection. No further request is read, in any turn."""
        self.forget_responses()
        self._unread = b""
        self.clearLineBuffer()
        self._responses_wait = self._held = self._network_paused = False
        super().connectionLost(reason)
