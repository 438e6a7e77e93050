"""One WebSocket client, from the connect to its subscription."""

import json
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

from bench import frames
from bench.frames import Frame
from bench.loop import READ, Loop
from bench.results import RowFailedError
from bench.target import Target, send_all

_READ_BYTES = 65_536
_ACCEPT = b"s3pplmbitxaq9kygzzhzrbk+xoo="  # The accept value for the key below, in lower case.
_OFFER = (
    # Without context takeover, all clients receive the same bytes, which can be compared.
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
    "client_no_context_takeover\r\n"
)


def upgrade_request(target: Target, *, compress: bool = False) -> bytes:
    """Make the request that opens a WebSocket."""
    return (
        f"GET {target.prefix}/app/{target.app.key}?protocol=7&client=bench&version=1.0 HTTP/1.1\r\n"
        f"Host: {target.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"{_OFFER if compress else ''}Origin: http://localhost\r\n\r\n"
    ).encode()


def event_frame(event: str, data: object) -> bytes:
    """Make the frame of a client's message."""
    return frames.masked(json.dumps({"event": event, "data": data}).encode())


_ERRORS = ("pusher:error", "pusher:subscription_error", "pusher_internal:subscription_error")
_PONG_MESSAGE = event_frame("pusher:pong", {})


class Client:
    """One connection.

    It performs the handshake and waits for ``connection_established``. After its
    subscription another reader takes over its socket.

    Args:
        loop: Calls the client when its socket is readable.
        target: The server.
        number: The client's number.
        request: The upgrade request.
        greeted: Called when ``connection_established`` has arrived.

    Attributes:
        sock: Its socket, non-blocking.
        socket_id: Its socket id, after ``connection_established``.
        compressed: Whether permessage-deflate was negotiated.
        pinged: The number of pings that the server has sent.
    """

    __slots__ = (
        "_greeted", "_joined", "_loop", "_request", "_rest", "_unconfirmed",
        "compressed", "number", "pinged", "sock", "socket_id",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        target: Target,
        number: int,
        request: bytes,
        greeted: "Callable[[Client], None]",
    ) -> None:
        self._loop = loop
        self.number = number
        self._request = request
        self._greeted = greeted
        self._joined: Callable[[Client], None] | None = None
        self._unconfirmed = 0
        self._rest = b""
        self.socket_id = ""
        self.compressed = False
        self.pinged = 0
        try:
            self.sock = target.connect(number)
        except OSError as error:
            self.fail(f"cannot connect: {error}")
        self.sock.setblocking(False)
        if isinstance(self.sock, ssl.SSLSocket):
            loop.watch(self.sock.fileno(), self._shake_hands)
            self._shake_hands()
        else:
            loop.watch(self.sock.fileno(), self._upgraded)
            self.send(request)

    def fail(self, reason: str) -> NoReturn:
        """Fail the row: the client's connection was lost or refused."""
        raise RowFailedError(f"client {self.number}: {reason}")

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            send_all(self.sock, data)
        except OSError as error:
            self.fail(f"sending: {error}")

    def hand_over(self, readable: Callable[[], None]) -> None:
        """Call another function when the socket is readable."""
        self._loop.rewatch(self.sock.fileno(), readable)

    def take_rest(self) -> bytes:
        """Return and clear the bytes of an incomplete frame."""
        rest, self._rest = self._rest, b""
        return rest

    def close(self) -> None:
        """Close the socket without a close frame."""
        if self.sock.fileno() >= 0:
            self._loop.forget(self.sock.fileno())
            self.sock.close()

    def watch_end(self, ended: Callable[[], None], events: int) -> None:
        """Stop reading, and call ``ended`` when the connection closes."""
        self._loop.rewatch(self.sock.fileno(), ended, events)

    # The handshakes

    def _shake_hands(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return
        except OSError as error:
            self.fail(f"TLS: {error}")
        self._loop.rewatch(self.sock.fileno(), self._upgraded, READ)
        self.send(self._request)

    def _read(self) -> bytes:
        try:
            data = self.sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        except OSError as error:
            self.fail(str(error))
        if not data:
            self.fail("the server closed the connection")
        return data

    def _upgraded(self) -> None:
        self._rest += self._read()
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if not end:
            return
        lowered = head.lower()
        if not head.startswith(b"HTTP/1.1 101") or _ACCEPT not in lowered:
            self.fail(f"the upgrade was answered with {head[:200].decode(errors='replace')!r}")
        self.compressed = b"permessage-deflate" in lowered
        if self.compressed and b"server_no_context_takeover" not in lowered:
            self.fail("the server compresses with context takeover, which the offer excludes")
        self._rest = rest
        self.hand_over(self.readable)
        self._take_frames()

    # Messages

    def readable(self) -> None:
        """Read from the socket, and handle the messages."""
        self._rest += self._read()
        self._take_frames()

    def _take_frames(self) -> None:
        whole, self._rest = frames.split(self._rest)
        for frame in whole:
            if frame.opcode == frames.TEXT:
                self.protocol_message(frame.payload)
            else:
                self.control(frame)

    def control(self, frame: Frame) -> None:
        """Handle a control frame."""
        if frame.opcode == frames.PING:
            self.pinged += 1
            self.send(frames.masked(frame.payload, frames.PONG))
        elif frame.opcode == frames.CLOSE:
            code = int.from_bytes(frame.payload[:2])
            self.fail(f"closed by the server: {code} {frame.payload[2:].decode(errors='replace')}")

    def protocol_message(self, payload: bytes) -> None:
        """Handle a message of the protocol itself."""
        message: dict[str, Any] = json.loads(payload)
        event = message["event"]
        if event == "pusher:ping":  # Other servers ping with a message, not a control frame.
            self.pinged += 1
            self.send(_PONG_MESSAGE)
        elif event == "pusher:connection_established":
            self.socket_id = json.loads(message["data"])["socket_id"]
            self._greeted(self)
        elif event == "pusher_internal:subscription_succeeded" and self._joined is not None:
            self._unconfirmed -= 1
            if not self._unconfirmed:
                joined, self._joined = self._joined, None
                joined(self)
        elif event in _ERRORS:
            self.fail(f"the server answered {payload[:300].decode(errors='replace')}")

    def subscribe(self, frames: bytes, joined: "Callable[[Client], None]", count: int = 1) -> None:
        """Send subscriptions.

        Args:
            frames: The frames of the subscriptions, joined.
            joined: Called when the server has confirmed all subscriptions.
            count: The number of subscriptions.
        """
        self._joined = joined
        self._unconfirmed = count
        self.send(frames)
