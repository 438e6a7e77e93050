"""A WebSocket client on a plain socket, which sends nothing by itself."""

import base64
import hashlib
import json
import os
import socket
from typing import Any, NamedTuple, Self

from .server import APP

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Frame(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        return int.from_bytes(self.payload[:2], "big")

    @property
    def message(self) -> dict[str, Any]:
        """The message; if its data is a JSON string, the data is decoded."""
        message = json.loads(self.payload)
        if isinstance(message.get("data"), str):
            message["data"] = json.loads(message["data"])
        return message


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a masked frame, as clients must send (RFC 6455, section 5.3)."""
    mask = os.urandom(4)
    assert len(payload) < 65_536
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x80 | opcode]) + length + mask + masked


def message(event: str, **rest: Any) -> bytes:
    """Return the frame of a message in the Pusher protocol."""
    return frame(json.dumps({"event": event, **rest}).encode())


class RawWebSocket:
    """One upgraded connection.

    Args:
        sock: The connection; leaving the context closes it.
        key: The key of the app.
        prefix: The value of the server's ``--path``.
        early: Frames to send in the same segment as the upgrade request.
        headers: Additional header lines of the request, each with its line end.

    Attributes:
        head: The status line and the headers of the response.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        key: str = APP.key,
        prefix: str = "",
        early: bytes = b"",
        headers: str = "",
    ) -> None:
        self.socket = sock
        self._buffer = b""
        nonce = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {prefix}/app/{key}?protocol=7&client=raw&version=1.0 HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        )
        sock.sendall(request.encode() + early)
        self.head = self._read_head()
        assert self.head.startswith("HTTP/1.1 101 "), self.head
        accept = base64.b64encode(hashlib.sha1((nonce + _GUID).encode()).digest()).decode()
        assert f"sec-websocket-accept: {accept}".lower() in self.head.lower(), self.head

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        self._buffer += data

    def _read_head(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode()

    def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def next(self) -> Frame:
        """Read the next frame; raise EOFError if the server has closed the connection."""
        first, length = self._read_exactly(2)
        assert first & 0x80, "the server sent a fragment"
        assert not length & 0x80, "the server masked a frame"
        if length == 126:
            length = int.from_bytes(self._read_exactly(2), "big")
        return Frame(first & 0x0F, self._read_exactly(length))

    def expect(self, event: str) -> Any:
        """Read the next frame, check that it is a message of this event, and return its data."""
        received = self.next()
        assert (received.opcode, received.message["event"]) == (TEXT, event), received
        return received.message["data"]

    def is_closed(self) -> bool:
        """Return whether the server closes the connection without sending anything more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
