"""RFC 6455 by Autobahn, set up to cost little.

Nothing of Pusher is in here: it is any server's WebSocket that takes text only.
"""

import re

import txaio
from autobahn.twisted.websocket import WebSocketServerProtocol

from reverb.transport.fastlane import take_text
from reverb.transport.http import raw_error

_UNSUPPORTED_DATA = 1003


class TextServerProtocol(WebSocketServerProtocol):  # type: ignore[misc] # Autobahn is not typed
    """A server's side of one WebSocket."""

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

    # Autobahn's own lines repeat what _log tells in one.
    log = txaio.make_logger(level="error")

    def dataReceived(self, data: bytes) -> None:
        """Read frames: whole text frames by the fast lane, all else by Autobahn."""
        start = 0
        # Between two messages, whole text frames need none of Autobahn's care.
        while self.state == self.STATE_OPEN and not (
            self.data or self.inside_message or self.current_frame
        ):
            taken = take_text(data, start, self.maxMessagePayloadSize)
            if taken is None:
                break
            payload, start = taken
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                self._invalid_payload(f"invalid UTF-8 in a text message: {error.reason}")
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

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Refuse a malformed upgrade the way the API refuses requests."""
        self.transport.write(raw_error(code, reason, responseHeaders or ()))

    def _closeConnection(self, abort: bool = False) -> None:
        # After a full closing handshake there is no reason for a TCP reset,
        # which is how Autobahn would end it.
        super()._closeConnection(abort and not self.wasClean)
