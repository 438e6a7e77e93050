"""Reads from a blocking socket, up to a number of bytes and until a deadline.

A socket's own timeout limits one wait only: a server that sends one byte a second never exceeds it.
"""

import io
import socket
import time
from typing import Any


class AnswerLimitError(OSError):
    """The peer's answer is too large or too slow; the text says which."""


class BoundedReader(io.RawIOBase):
    """A stream of the bytes from a connected socket.

    Each read raises AnswerLimitError when the bytes or the time are used up, and otherwise what
    the socket raises. Closing the stream leaves the socket open.

    Args:
        connection: The socket, which may use TLS. Its timeout is changed by each read.
        max_bytes: The most bytes that may be read.
        seconds: The time from now until the last byte must have arrived.
    """

    def __init__(self, connection: socket.socket, *, max_bytes: int, seconds: float) -> None:
        self._connection = connection
        # It keeps the descriptor open when http.client closes the socket before the response.
        self._raw: Any = connection.makefile("rb", buffering=0)
        self._max_bytes = self._bytes_left = max_bytes
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer, as ``io.RawIOBase`` describes."""
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
