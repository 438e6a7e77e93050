"""RFC 6455 by Autobahn, set up to cost little.

Nothing of Pusher is in here: it is any server's WebSocket that takes text only.
"""

import re
from collections import deque
from typing import ClassVar

import txaio
from autobahn.twisted.util import peer2str
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from reverb.transport.deflate import (
    Agreement,
    DeflateError,
    Parameters,
    SizeError,
    agree,
    inflate,
)
from reverb.transport.fast_frame import is_empty_pong, parse_text_frame
from reverb.transport.http import raw_error

_UNSUPPORTED_DATA = 1003


class _PassThroughInflater:
    """Stands for Autobahn's inflater of a connection: leaves the data as they are.

    They are inflated when a message is complete, by an inflater that is gone
    afterwards, so that this one object serves all connections.
    """

    EXTENSION_NAME = "permessage-deflate"

    def start_decompress_message(self) -> None:
        """Begin nothing."""

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Return the data; their own size is limited like that of other frames."""
        return data

    def end_decompress_message(self) -> None:
        """End nothing."""


_PASS_THROUGH = _PassThroughInflater()


class _NullDeferred:
    """Stands for the Deferreds that Autobahn fires and nobody waits for."""

    def callback(self, result: object) -> None:
        """Tell nobody."""


class TextServerProtocol(WebSocketServerProtocol):  # type: ignore[misc] # Autobahn is not typed
    """A server's side of one WebSocket.

    Attributes:
        compresses: Whether the client takes the frames of ``compressed_text_frame``.
    """

    compresses = False
    websocket_extensions: list[tuple[str, Parameters]]

    # Autobahn copies its options from the factory onto every connection, and
    # formats them for a log line that nobody sees, for all that are listed
    # here: a third of what a connect costs. They are class attributes instead.
    CONFIG_ATTRS = ()
    logOctets = False
    logFrames = False
    trackTimings = False
    utf8validateIncoming = True
    applyMask = True
    maxFramePayloadSize = 0
    maxMessagePayloadSize = 10_240
    autoFragmentSize = 0
    failByDrop = False
    echoCloseCodeReason = True
    openHandshakeTimeout = 0  # the front door has its own
    closeHandshakeTimeout = 0  # each connection has one of its own
    tcpNoDelay = True
    autoPingInterval = 0  # the same
    autoPingTimeout = 0
    autoPingSize = 12
    autoPingRestartOnAnyTraffic = True
    versions = (13,)
    webStatus = False
    requireMaskedClientFrames = True
    maskServerFrames = False
    perMessageCompressionAccept = staticmethod(lambda _: None)
    serveFlashSocketPolicy = False
    flashSocketPolicy = ""
    allowedOrigins = ("*",)  # each app has its own
    allowedOriginsPatterns = (re.compile(".*"),)
    allowNullOrigin = True
    maxConnections = 0  # the app's limit counts
    trustXForwardedFor = 0

    # What Autobahn sets on every new connection, as it is until it changes: on
    # the class it costs no connection anything. A test compares the list with
    # what Autobahn sets.
    state = WebSocketServerProtocol.STATE_CONNECTING
    send_state = WebSocketServerProtocol.SEND_STATE_GROUND
    data = b""
    inside_message = False
    current_frame = None
    triggered = False
    trackedTimings = None
    _perMessageCompress: _PassThroughInflater | None = None
    _transport_details = None
    wasMaxFramePayloadSizeExceeded = False
    wasMaxMessagePayloadSizeExceeded = False
    closedByMe = False
    failedByMe = False
    droppedByMe = False
    wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = False
    wasOpenHandshakeTimeout = False
    wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    message_data: list[bytes] | None = None
    openHandshakeTimeoutCall = None
    closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = None
    autoPingPending = None
    autoPingPendingCall = None
    autoPingPendingSeq = 0
    autoPingPendingSent = None
    websocket_version = 13
    # Shared by all: what nobody reads, and what nothing is ever put into.
    trafficStats = TrafficStats()
    send_queue: ClassVar[deque[bytes]] = deque()
    is_open = is_closed = _NullDeferred()

    # Autobahn's own lines repeat what _log tells in one.
    log = txaio.make_logger(level="error")

    def __init__(self) -> None:
        """Do without what Autobahn sets up for callers of ``on`` and ``is_open``."""

    @property
    def utf8validator(self) -> Utf8Validator:
        """Make a validator for those who send more than whole text frames."""
        validator = self.__dict__.get("_utf8validator")
        if validator is None:
            validator = self._utf8validator = Utf8Validator()
        return validator

    def connectionMade(self) -> None:
        """Begin; the transport has been looked at by the front door."""
        self.peer = peer2str(self.transport)
        self.factory.countConnections += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        # Not the server's method, which puts the reason into words for a debug line.
        WebSocketProtocol._connectionLost(self, reason)  # noqa: SLF001 - one step up
        self.factory.countConnections -= 1

    def succeedHandshake(self, res: str | None) -> None:
        """Accept the upgrade, with compression if that is on and the client offers it.

        Autobahn does not get to see the offers. It would fail the handshake for
        one that it does not understand, could not answer that messages stand
        for themselves unless it was asked to, and would keep zlib's state.
        """
        offers, self.websocket_extensions = self.websocket_extensions, []
        headers = {}
        if self.factory.compression and (agreement := agree(offers)):
            self.compress_by(agreement)
            headers["Sec-WebSocket-Extensions"] = agreement.header
        super().succeedHandshake((res, headers))

    def compress_by(self, agreement: Agreement) -> None:
        """Take compressed messages from now on, and send them if the client can inflate ours."""
        self._perMessageCompress = _PASS_THROUGH
        self.compresses = agreement.takes_shared

    def _onOpen(self) -> None:
        self.onOpen()

    def drop_handshake_state(self) -> None:
        """Let go of what the handshake has left behind, once it has been read."""
        kind = type(self)
        # A new dict, as one that things are taken out of keeps its size.
        self.__dict__ = {
            name: value
            for name, value in self.__dict__.items()
            if not name.startswith(("http_", "websocket_", "_wskey"))
            and getattr(kind, name, self) is not value
        }

    def dataReceived(self, data: bytes) -> None:
        """Read frames: whole text frames by the fast lane, all else by Autobahn."""
        start = 0
        # Between two messages, these frames need none of Autobahn's care.
        while self.state == self.STATE_OPEN and not (
            self.data or self.inside_message or self.current_frame
        ):
            if is_empty_pong(data):
                return  # It tells that the client lives, and that has been noted.
            taken = parse_text_frame(data, start, self.maxMessagePayloadSize)
            if taken is None:
                break
            payload, start = taken
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                self._not_text(error)
                break
            self.onMessage(payload, isBinary=False)
            if start == len(data):
                return
        self._dataReceived(data[start:])

    def onMessageBegin(self, isBinary: bool) -> None:
        """Refuse binary messages before they are read."""
        super().onMessageBegin(isBinary)
        if isBinary and not self.failedByMe:
            self._fail_connection(_UNSUPPORTED_DATA, "Binary messages are not supported")
        if self._isMessageCompressed:
            # What is compressed is not UTF-8; see onMessageEnd.
            self.utf8validateIncomingCurrentMessage = False

    def onMessageEnd(self) -> None:
        """Take a whole message, without Autobahn's signals beside the call."""
        data, self.message_data = self.message_data or [], None
        if self.failedByMe:
            return
        payload = b"".join(data)
        if self._isMessageCompressed:
            inflated = self._inflate(payload)
            if inflated is None:
                return
            payload = inflated
        self.onMessage(payload, self.message_is_binary)

    def _inflate(self, data: bytes) -> bytes | None:
        """Inflate a message and check it, or fail the connection."""
        most = self.maxMessagePayloadSize
        try:
            payload = inflate(data, most)
            if not self.message_is_binary:
                payload.decode()
        except SizeError:
            self.wasMaxMessagePayloadSizeExceeded = True
            self._max_message_size_exceeded(
                most + 1, most, f"the message inflates to more than {most} bytes"
            )
        except DeflateError as error:
            self._invalid_payload(f"cannot inflate a message: {error}")
        except UnicodeDecodeError as error:
            self._not_text(error)
        else:
            return payload
        return None

    def _not_text(self, error: UnicodeDecodeError) -> None:
        self._invalid_payload(f"invalid UTF-8 in a text message: {error.reason}")

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Refuse a malformed upgrade the way the API refuses requests."""
        self.transport.write(raw_error(code, reason, responseHeaders or ()))

    def _closeConnection(self, abort: bool = False) -> None:
        # After a full closing handshake there is no reason for a TCP reset,
        # which is how Autobahn would end it.
        super()._closeConnection(abort and not self.wasClean)
