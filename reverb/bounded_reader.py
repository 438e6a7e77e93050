"""Reads from a blocking socket, up to a number of bytes and until a deadline.

The timeout of a Python socket limits only a single read. A server that sends one byte a second
would never exceed the timeout of the socket.
"""

import io
import socket
import time
from typing import Any


class AnswerLimitError(OSError):
    """The peer's answer is too large or too slow. The exception's text names the limit."""


class BoundedReader(io.RawIOBase):
    """A stream of the bytes that a connected socket receives.

    A read raises AnswerLimitError when the peer has sent more than ``max_bytes``, or when
    ``seconds`` are over. A read also raises the exceptions that the socket raises. Closing the
    stream leaves the socket open.

    Args:
        connection: The socket, which may use TLS. Each read changes the socket's timeout.
        max_bytes: The most bytes that the peer may send.
        seconds: The seconds from the stream's creation within which the last byte must arrive.
    """

    def __init__(self, connection: socket.socket, *, max_bytes: int, seconds: float) -> None:
        self._connection = connection
        # This file keeps the descriptor open: http.client may close the socket before the response.
        self._raw: Any = connection.makefile("rb", buffering=0)
        self._max_bytes = self._bytes_left = max_bytes
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read bytes into a buffer; implements ``io.RawIOBase.readinto``."""
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_slow()
        self._connection.settimeout(remaining)
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            raise self._too_slow() from None
        self._bytes_left -= count or 0
        if self._bytes_left < 0:
            raise AnswerLimitError(f"the answer is over {self._max_bytes} bytes")
        return count

    def _too_slow(self) -> AnswerLimitError:
        return AnswerLimitError(f"the answer took longer than {self._seconds:g} s")

    def close(self) -> None:
        """Close the stream."""
        self._raw.close()
        super().close()
