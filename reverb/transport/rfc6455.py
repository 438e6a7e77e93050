"""A WebSocket server protocol (RFC 6455) on Autobahn, with low cost for each connection.

The protocol accepts only text messages. This module is independent of the Pusher protocol.
"""

from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from reverb.transport.autobahn_stubs import PASS_THROUGH
from reverb.transport.client_address import UNKNOWN_ADDRESS, ClientAddress
from reverb.transport.deflate import (
    Agreement,
    DeflateError,
    Parameters,
    SizeError,
    inflate,
    negotiate,
)
from reverb.transport.fast_frame import PONG_LENGTH, frame_end, is_empty_pong, parse_text_frame
from reverb.transport.http_response import encode_error
from reverb.transport.lean_protocol import LeanServerProtocol
from reverb.transport.wrapped_transport import close_socket

_UNSUPPORTED_DATA = 1003
_POLICY_VIOLATION = 1008
_MAX_EMPTY_FRAGMENTS = 16
"""The most fragments without payload in one message."""
_MAX_EXCESS_BYTES = 1_048_576
_FRAMES_PER_TURN = 32
_BYTES_PER_TURN = 32_768
"""The frames and bytes after which a connection waits for the next turn of the reactor."""


def hard_limit(max_message_bytes: int) -> int:
    """Return the size of a message in bytes above which the connection is closed; 0 for no limit.

    A message between ``max_message_bytes`` and the hard limit is read and dropped, and the client
    is told. The hard limit is ten times ``max_message_bytes``, but at most 1 MiB more.
    """
    return max_message_bytes + min(9 * max_message_bytes, _MAX_EXCESS_BYTES)


def _is_within_turn(frames: int, size: int) -> bool:
    """Return whether a connection may read another frame in this turn of the reactor."""
    return frames < _FRAMES_PER_TURN and size < _BYTES_PER_TURN


class TextServerProtocol(LeanServerProtocol):
    """The server's side of one WebSocket.

    Attributes:
        compresses: Whether the client can inflate the frames of
            :func:`reverb.protocol.frames.compressed_text_frame`.
        address: The address of the client.
        held: The reasons why no frame may be read now, as bits; 0 if there is no reason.
        max_message_bytes: The largest message that is passed to ``onMessage``, in bytes; 0 for no
            limit. :meth:`limit_messages` changes it.
    """

    compresses = False
    address: ClientAddress = UNKNOWN_ADDRESS
    held = 0
    max_message_bytes = 10_240
    maxMessagePayloadSize = hard_limit(max_message_bytes)
    _empty_fragments = 0
    websocket_extensions: list[tuple[str, Parameters]]

    @property
    def peer(self) -> str:
        """The address of the client as text, for Autobahn's handshake."""
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

        The client's offers of compression are hidden from Autobahn, for three reasons. Autobahn
        would fail the handshake if Autobahn does not understand an offer. Autobahn would respond
        with ``no_context_takeover`` only if the client asks for ``no_context_takeover``. And
        Autobahn would keep zlib's state for each connection.

        Args:
            res: The subprotocol; None if there is none.
        """
        offers, self.websocket_extensions = self.websocket_extensions, []
        headers = {}
        if self.factory.options.compression and (agreement := negotiate(offers)):
            self.enable_compression(agreement)
            headers["Sec-WebSocket-Extensions"] = agreement.header
        super().succeedHandshake((res, headers))

    def enable_compression(self, agreement: Agreement) -> None:
        """Accept compressed messages, and send compressed frames if the client can inflate them."""
        self._perMessageCompress = PASS_THROUGH
        self.compresses = agreement.accepts_shared_frames

    def _onOpen(self) -> None:
        self.onOpen()

    def drop_handshake_state(self) -> None:
        """Delete attributes after the handshake, to save memory.

        Deletes the attributes that only the handshake needs, and the attributes that have the same
        value as the class attribute with the same name.
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
        """Read all frames. :class:`reverb.transport.paced_protocol.PacedProtocol` bounds them."""
        while data:
            _, data = self.read_frames(data, len(data))

    def consumeData(self) -> None:
        """Process the handshake, or the frames that follow the handshake in the same segment."""
        if self.state == self.STATE_CONNECTING:
            self.processHandshake()
            return
        data, self.data = self.data, b""
        if data:
            self.dataReceived(data)

    def read_frames(self, data: bytes, max_frames: int) -> tuple[int, bytes]:
        """Parse frames, by the fast path where that is possible and otherwise by Autobahn.

        The method stops after ``max_frames`` frames, after 32 frames or 32 KB (the budget for one
        turn of the reactor), or when a message sets :attr:`held`, whichever comes first.

        Args:
            data: The received bytes, at least one.
            max_frames: The most frames to read, at least 1.

        Returns:
            The number of frames that were read, and the bytes that were not read.
        """
        resumed = self.data  # An incomplete header.
        if resumed:
            data, self.data = resumed + data, b""
        start = frames = 0
        end = len(data)
        by_autobahn = False
        while True:
            frames += 1
            # The fast path is possible only while Autobahn has no incomplete frame or message.
            parsed = None
            if self.state == self.STATE_OPEN and not (self.inside_message or self.current_frame):
                if end == PONG_LENGTH and is_empty_pong(data):
                    return 1, b""  # Recorded already: the client is alive.
                parsed = parse_text_frame(data, start, self.max_message_bytes)
            if parsed is None:
                by_autobahn = True
                start = self._read_by_autobahn(data, start)
            else:
                payload, start = parsed
                if resumed:
                    resumed = b""
                    self.frame_finished()
                self._receive_text(payload)
            if start == end:  # Most segments have one frame.
                break
            if self.held or frames >= max_frames or not _is_within_turn(frames, start):
                break
        if by_autobahn:
            self.frames_parsed()
        return frames, data[start:]

    def _receive_text(self, payload: bytes) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            self._fail_invalid_utf8(error)
        else:
            self.onMessage(payload, isBinary=False)

    def _read_by_autobahn(self, data: bytes, start: int) -> int:
        """Pass a whole or partial frame to Autobahn; return the index of the next unread byte.

        Before the handshake is complete, pass all bytes to Autobahn.
        """
        if self.state == self.STATE_CONNECTING:
            self._dataReceived(data)
            return len(data)
        if self.state == self.STATE_CLOSED:
            return len(data)  # Drop the bytes; Autobahn would keep them.
        if self.current_frame is None:
            end = frame_end(data, start)
            if end is None:  # Not even the header is complete.
                self.data = data[start:]
                return len(data)
        else:
            end = start + self.current_frame.length - self.current_frame_masker.pointer()
        end = min(end, start + _BYTES_PER_TURN)
        self.data = data[start:end]
        while self.processData() and self.state != self.STATE_CLOSED:
            pass
        return min(end, len(data))

    @property
    def unfinished(self) -> bool:
        """Whether the client has sent only a part of a frame or of a message."""
        return bool(self.data or self.inside_message or self.current_frame)

    def frame_finished(self) -> None:
        """Do nothing; a subclass may act when an :attr:`unfinished` message or frame ends."""

    def frames_parsed(self) -> None:
        """Do nothing; a subclass may act when :meth:`read_frames` has passed frames to Autobahn."""

    def limit_messages(self, max_message_bytes: int) -> None:
        """Set the size of the largest message in bytes, 0 for no limit, and the hard limit."""
        if max_message_bytes != self.max_message_bytes:  # The class has the default.
            self.max_message_bytes = max_message_bytes
            self.maxMessagePayloadSize = hard_limit(max_message_bytes)

    def message_dropped(self, size: int) -> None:
        """Do nothing; a subclass may act when a message above the limit has been dropped.

        Args:
            size: The size of the message in bytes, as the client sent it or inflated.
        """

    def fail_policy(self, reason: str) -> None:
        """Close the connection with 1008, "policy violation" (RFC 6455, 7.4.1)."""
        self._fail_connection(_POLICY_VIOLATION, reason)

    def onMessageBegin(self, isBinary: bool) -> None:
        """Start to read a message; refuse a binary message before its payload is read."""
        super().onMessageBegin(isBinary)
        if isBinary and not self.failedByMe:
            self._fail_connection(_UNSUPPORTED_DATA, "Binary messages are not supported")
        if self._isMessageCompressed:
            # The compressed data is not UTF-8. _inflate checks the inflated message.
            self.utf8validateIncomingCurrentMessage = False
        self.message_data = bytearray()
        self._empty_fragments = 0

    def onMessageFrameBegin(self, length: int) -> None:
        """Begin a fragment; close the connection if the message has too many empty fragments."""
        super().onMessageFrameBegin(length)
        if 0 < self.max_message_bytes < self.message_data_total_length:
            self.message_data = None  # Drop the message.
            self.utf8validateIncomingCurrentMessage = False
        if length == 0 and not self.failedByMe:
            self._empty_fragments += 1
            if self._empty_fragments > _MAX_EMPTY_FRAGMENTS:
                self.fail_policy(f"More than {_MAX_EMPTY_FRAGMENTS} empty fragments in a message")

    def onMessageFrameData(self, payload: bytes) -> None:
        """Append a part of a fragment to the bytes of the message.

        Autobahn would keep the parts in a list, which takes more memory if the parts are small. The
        bytes of a message above the limit are dropped.
        """
        if not self.failedByMe and self.message_data is not None:
            self.message_data += payload

    def onMessageFrameEnd(self) -> None:
        """Do nothing: :meth:`onMessageFrameData` has appended the fragment to the message."""

    def onMessageEnd(self) -> None:
        """Pass a complete message to ``onMessage``, without firing Autobahn's events."""
        self.frame_finished()
        data, self.message_data = self.message_data, None
        if self.failedByMe:
            return
        if data is None:
            self.message_dropped(self.message_data_total_length)
            return
        payload = bytes(data)
        if self._isMessageCompressed:
            inflated = self._inflate(payload)
            if inflated is None:
                return
            payload = inflated
            if 0 < self.max_message_bytes < len(payload):
                self.message_dropped(len(payload))
                return
        self.onMessage(payload, self.message_is_binary)

    def processControlFrame(self) -> bool:
        """Handle a control frame, which may be between the fragments of a message."""
        if not self.inside_message:
            self.frame_finished()
        return bool(super().processControlFrame())

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
        self._invalid_payload(f"a text message is not UTF-8 at byte {error.start}")

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Refuse a malformed upgrade with an error in JSON, and close the socket.

        No timeout applies to the connection any more, so the server must not wait for the client.
        """
        self.transport.write(encode_error(code, reason, responseHeaders or ()))
        close_socket(self.transport)

    def _closeConnection(self, abort: bool = False) -> None:
        # Autobahn would abort with a TCP reset, which is not needed after a complete closing
        # handshake.
        super()._closeConnection(abort and not self.wasClean)
