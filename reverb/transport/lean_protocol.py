"""Autobahn's server protocol with its options and its initial state on the class.

Autobahn sets about sixty attributes on every new connection. As class attributes they cost neither
time nor memory for each connection.
"""

import re
from collections import deque
from typing import ClassVar

import txaio
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats

from reverb.transport.autobahn_stubs import NullDeferred, PassThroughInflater


class LeanServerProtocol(WebSocketServerProtocol):  # type: ignore[misc] # Autobahn is not typed
    """The server's side of one WebSocket, without attributes that are set for each connection."""

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
    maxMessagePayloadSize = 0  # TextServerProtocol has limits of its own.
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
    _perMessageCompress: PassThroughInflater | None = None
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
    message_data: bytearray | None = None
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
    is_open = is_closed = NullDeferred()

    # Suppress Autobahn's log lines: the connection logs the same facts in one line.
    log = txaio.make_logger(level="error")

    def __init__(self) -> None:
        """Skip Autobahn's setup of listeners and Deferreds, which this server does not use."""
