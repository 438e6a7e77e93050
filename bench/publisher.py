"""A client of the HTTP API that publishes on a kept-alive connection."""

import re
import socket
import ssl
from collections.abc import Callable

from bench.loop import Loop
from bench.results import RowFailedError
from bench.target import Target, send_all

_READ_BYTES = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"^http/1\.0|\r\nconnection: *close", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


class Publisher:
    """One connection to the API, with at most one request in flight.

    Args:
        loop: Calls the publisher when its socket is readable.
        target: The server.
        number: Identifies the publisher in its messages.
        answered: Called with the publisher after each reply.

    Attributes:
        posted: The number of replies.
    """

    def __init__(
        self,
        loop: Loop,
        target: Target,
        number: int,
        answered: "Callable[[Publisher], None]",
    ) -> None:
        self.number = number
        self.posted = 0
        self._loop = loop
        self._target = target
        self._answered = answered
        self._request = b""
        self._reply = b""
        self._fresh = True
        self._sock: socket.socket | None = None

    def _open(self) -> None:
        """Connect; only when there is a request, as servers close idle connections."""
        self._fresh = True
        self._reply = b""
        try:
            self._sock = sock = self._target.connect()
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
        except OSError as error:
            raise RowFailedError(f"publisher {self.number}: cannot connect: {error}") from None
        sock.setblocking(False)
        self._loop.watch(sock.fileno(), self._readable)

    def close(self) -> None:
        """Close the connection."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.forget(sock.fileno())
            sock.close()

    def post(self, path: str, body: str) -> None:
        """Send a request."""
        self._request = self._target.request("POST", path, body)
        self._send()

    def _send(self) -> None:
        if self._sock is None:
            self._open()
        assert self._sock is not None
        try:
            send_all(self._sock, self._request)
        except OSError as error:
            self._lost(str(error))

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._lost(str(error))
            return
        if not self._request:  # The server closes an idle connection.
            self.close()
            return
        self._reply += data
        head, end, body = self._reply.partition(b"\r\n\r\n")
        if end and _is_whole(head, body, ended=not data):
            self._take(head, body, closes=not data or _CLOSES.search(head) is not None)
        elif not data:
            self._lost("the server closed the connection")

    def _take(self, head: bytes, body: bytes, *, closes: bool) -> None:
        if head[9:12] not in (b"200", b"202"):
            answer = (head.partition(b"\r\n")[0] + b" " + body[:300]).decode(errors="replace")
            raise RowFailedError(f"a publish was answered with: {answer}")
        self._reply = self._request = b""
        self._fresh = False
        self.posted += 1
        if closes:
            self.close()
        self._answered(self)

    def _lost(self, reason: str) -> None:
        """Reconnect, and resend a request that met a closing connection.

        The server has usually closed the connection before it read the request. If it
        had read it, the subscribers detect a duplicate.
        """
        if self._request and (self._fresh or self._reply):
            raise RowFailedError(f"publisher {self.number}: no answer to a publish: {reason}")
        self.close()
        if self._request:
            self._send()


def _is_whole(head: bytes, body: bytes, *, ended: bool) -> bool:
    """Return whether a reply is complete."""
    length = _LENGTH.search(head)
    if length:
        return len(body) >= int(length[1])
    return ended or body.endswith(_LAST_CHUNK)
