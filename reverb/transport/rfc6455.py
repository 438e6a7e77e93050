"""A WebSocket server protocol (RFC 6455) on Autobahn, with low cost for each connection.

The protocol accepts only text messages. This module is independent of the Pusher protocol.
"""

import re
from collections import deque
from typing import ClassVar, NamedTuple

import txaio
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from reverb.transport.client_address import UNKNOWN_ADDRESS, ClientAddress
from reverb.transport.deflate import (
    Agreement,
    DeflateError,
    Parameters,
    SizeError,
    inflate,
    negotiate,
)
from reverb.transport.fast_frame import is_empty_pong, parse_text_frame
from reverb.transport.http_response import encode_error
from reverb.transport.wrapped_transport import close_socket

_UNSUPPORTED_DATA = 1003


class WebSocketOptions(NamedTuple):
    """The settings of a node that concern WebSocket connections."""

    path: str = ""
    """The prefix of every route: empty, or a path such as ``/realtime``."""
    max_buffered_bytes: int = 0
    """Bytes that may be queued for one client; 0 for no limit."""
    handshake_timeout: int = 10
    """Seconds that the admission of a client may take."""
    compression: bool = True
    """Whether to negotiate compression with clients that offer it."""
    trusted_proxies: tuple[str, ...] = ()
    """The proxies that are believed; see :class:`reverb.transport.client_address.ClientAddresses`.
    """
    max_sockets: int = 0
    """WebSockets that may be open; 0 for no limit."""
    max_connections_per_address: int = 0
    """WebSockets of one address that may be open; 0 for no limit."""
    connection_rate_per_address: int = 0
    """New WebSockets of one address in each second; 0 for no limit."""


class _PassThroughInflater:
    """Replaces Autobahn's inflater of a connection, and returns the data unchanged.

    :func:`inflate` inflates each message when the message is complete. As this class has no
    state, all connections share one instance.
    """

    EXTENSION_NAME = "permessage-deflate"

    def start_decompress_message(self) -> None:
        """Do nothing: there is no state."""

    def decompress_message_data(self, data: bytes, max_output_len: int | None = None) -> bytes:
        """Return the data unchanged. Autobahn limits the size as for other frames."""
        return data

    def end_decompress_message(self) -> None:
        """Do nothing: there is no state."""


_PASS_THROUGH = _PassThroughInflater()


class _NullDeferred:
    """Replaces the Deferreds that Autobahn fires, and to which this server adds no callbacks."""

    def callback(self, result: object) -> None:
        """Do nothing."""


class TextServerProtocol(WebSocketServerProtocol):  # type: ignore[misc] # Autobahn is not typed
    """The server's side of one WebSocket.

    Attributes:
        compresses: Whether the client can inflate the frames of
            :func:`reverb.protocol.frames.compressed_text_frame`.
        address: The address of the client.
    """

    compresses = False
    address: ClientAddress = UNKNOWN_ADDRESS
    websocket_extensions: list[tuple[str, Parameters]]

    # Autobahn copies the options in CONFIG_ATTRS from the factory to every connection, and formats
    # them for a debug log line. That is a third of the cost of a connect. Therefore the tuple is
    # empty, and the options are class attributes.
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
    openHandshakeTimeout = 0  # The multiplexer has a timeout of its own.
    closeHandshakeTimeout = 0  # PusherConnection has a timeout of its own.
    tcpNoDelay = True
    autoPingInterval = 0  # PusherConnection sends pings.
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
    allowedOrigins = ("*",)  # Each app has its own.
    allowedOriginsPatterns = (re.compile(".*"),)
    allowNullOrigin = True
    maxConnections = 0  # Each app has its own limit.
    trustXForwardedFor = 0

    # The initial values of the attributes that Autobahn sets on every new connection. As class
    # attributes they cost nothing for each connection. A test compares them with Autobahn's.
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
    # All connections share these objects, which are not read or stay empty.
    trafficStats = TrafficStats()
    send_queue: ClassVar[deque[bytes]] = deque()
    is_open = is_closed = _NullDeferred()

    # Suppress Autobahn's log lines: the connection logs the same facts in one line.
    log = txaio.make_logger(level="error")

    def __init__(self) -> None:
        """Skip Autobahn's setup of listeners and Deferreds, which this server does not use."""

    @property
    def peer(self) -> str:
        """The address of the client as text. Autobahn reads it during the handshake."""
        return str(self.address)

    @property
    def utf8validator(self) -> Utf8Validator:
        """The validator for messages that do not take the fast path, made on first access."""
        validator = self.__dict__.get("_utf8validator")
        if validator is None:
            validator = self._utf8validator = Utf8Validator()
        return validator

    def connectionMade(self) -> None:
        """Start the protocol. The multiplexer has configured the transport already."""
        self.factory.countConnections += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Run Autobahn's cleanup, which calls ``onClose``."""
        # The method of WebSocketServerProtocol is skipped: it formats the reason for a debug line.
        WebSocketProtocol._connectionLost(self, reason)  # noqa: SLF001 - a method of a base class
        self.factory.countConnections -= 1

    def succeedHandshake(self, res: str | None) -> None:
        """Accept the upgrade, with compression if the node and the client support it.

        The client's offers are hidden from Autobahn, for three reasons. Autobahn would fail the
        handshake for an offer that it does not understand. Autobahn would respond with
        ``no_context_takeover`` only if the client asks for that. And Autobahn would keep zlib's
        state for each connection.

        Args:
            res: The subprotocol; None for none.
        """
        offers, self.websocket_extensions = self.websocket_extensions, []
        headers = {}
        if self.factory.options.compression and (agreement := negotiate(offers)):
            self.enable_compression(agreement)
            headers["Sec-WebSocket-Extensions"] = agreement.header
        super().succeedHandshake((res, headers))

    def enable_compression(self, agreement: Agreement) -> None:
        """Accept compressed messages, and send compressed frames if the client can inflate them."""
        self._perMessageCompress = _PASS_THROUGH
        self.compresses = agreement.accepts_shared_frames

    def _onOpen(self) -> None:
        self.onOpen()

    def drop_handshake_state(self) -> None:
        """Save memory after the handshake.

        Deletes the attributes that only the handshake needs, and each attribute whose value is
        that of the class attribute with the same name.
        """
        kind = type(self)
        # A new dict, because a dict does not shrink when items are deleted.
        self.__dict__ = {
            name: value
            for name, value in self.__dict__.items()
            if not name.startswith(("http_", "websocket_", "_wskey"))
            and getattr(kind, name, self) is not value
        }

    def dataReceived(self, data: bytes) -> None:
        """Parse frames, by the fast path where that is possible and otherwise by Autobahn."""
        start = 0
        # The fast path is possible only while Autobahn has no incomplete frame or message.
        while self.state == self.STATE_OPEN and not (
            self.data or self.inside_message or self.current_frame
        ):
            if is_empty_pong(data):
                return  # It only shows that the client is alive. The subclass has recorded that.
            parsed = parse_text_frame(data, start, self.maxMessagePayloadSize)
            if parsed is None:
                break
            payload, start = parsed
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                self._fail_invalid_utf8(error)
                break
            self.onMessage(payload, isBinary=False)
            if start == len(data):
                return
        self._dataReceived(data[start:])

    def onMessageBegin(self, isBinary: bool) -> None:
        """Start to read a message; refuse a binary message before its payload is read."""
        super().onMessageBegin(isBinary)
        if isBinary and not self.failedByMe:
            self._fail_connection(_UNSUPPORTED_DATA, "Binary messages are not supported")
        if self._isMessageCompressed:
            # The compressed data is not UTF-8. _inflate checks the inflated message.
            self.utf8validateIncomingCurrentMessage = False

    def onMessageEnd(self) -> None:
        """Pass a complete message to ``onMessage``, without firing Autobahn's events."""
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
        """Inflate a message and check that it is UTF-8; fail the connection if either step fails.

        Args:
            data: The joined payloads of the message's frames.

        Returns:
            The inflated message; None if the connection has failed.
        """
        max_bytes = self.maxMessagePayloadSize
        try:
            payload = inflate(data, max_bytes)
            if not self.message_is_binary:
                payload.decode()
        except SizeError as error:
            self.wasMaxMessagePayloadSizeExceeded = True
            self._max_message_size_exceeded(max_bytes + 1, max_bytes, str(error))
        except DeflateError as error:
            self._invalid_payload(f"cannot inflate a message: {error}")
        except UnicodeDecodeError as error:
            self._fail_invalid_utf8(error)
        else:
            return payload
        return None

    def _fail_invalid_utf8(self, error: UnicodeDecodeError) -> None:
        self._invalid_payload(f"invalid UTF-8 in a text message: {error.reason}")

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Refuse a malformed upgrade with a JSON error, as the API does, and close the socket.

        No timeout applies to the connection any more, so it must not wait for the client.
        """
        self.transport.write(encode_error(code, reason, responseHeaders or ()))
        close_socket(self.transport)

    def _closeConnection(self, abort: bool = False) -> None:
        # Autobahn would abort with a TCP reset, which is not needed after a complete closing
        # handshake.
        super()._closeConnection(abort and not self.wasClean)
