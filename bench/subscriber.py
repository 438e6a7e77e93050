"""A subscriber that reads: the innermost loop of the generator."""

import ssl

from bench import frames
from bench.client import Client
from bench.frames import Frame
from bench.ledger import MessageKey
from bench.stream import Stream

_READ_BYTES = 65_536


class Subscriber:
    """Reads a channel's messages, and checks them against its stream.

    Args:
        client: The subscribed connection.
        stream: The stream of its channel.

    Attributes:
        number: The client's number.
        position: Its position in the stream.
    """

    __slots__ = ("_receive", "_rest", "_strays", "client", "number", "position", "stream")

    def __init__(self, client: Client, stream: Stream) -> None:
        self.client = client
        self.stream = stream
        self.number = client.number
        self.position = stream.enter()
        self._receive = client.sock.recv
        self._rest = client.take_rest()
        self._strays: list[MessageKey] | None = None
        client.hand_over(self.readable)

    def readable(self) -> None:
        """Read once, and check the bytes."""
        try:
            data = self._receive(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self.client.fail(str(error))
        stream = self.stream
        old = self.position
        if data and not self._rest and stream.data.startswith(data, old - stream.base):
            self.position = new = old + len(data)
            stream.move(old, new)
        else:
            self._read_slowly(data)

    def _read_slowly(self, data: bytes) -> None:
        """Check frame by frame the bytes that do not equal the stored ones."""
        if not data:
            self.client.fail("the server closed the connection")
        old = position = self.position
        if not self._rest and self._strays is None:
            position = self.stream.boundary(old)
            data = self.stream.between(position, old) + data
        whole, self._rest = frames.split(self._rest + data)
        for frame in whole:
            position = self._take(position, frame)
        if self._strays is None and position != old:
            self.position = position
            self.stream.move(old, position)

    def _take(self, position: int, frame: Frame) -> int:
        if frame.opcode != frames.TEXT:
            self.client.control(frame)
            return position
        if self._strays is None:
            new = self.stream.step(position, frame)
            if new is not None:
                if new == position:
                    self.client.protocol_message(frame.payload)
                return new
            self._go_astray(position)
        assert self._strays is not None
        key = self.stream.ledger.recognize(frame.payload)
        if key is not None:
            self._strays.append(key)
        return position

    def _go_astray(self, position: int) -> None:
        """Leave the stream, and record all later messages for the diagnosis."""
        self._strays = self.stream.lose(self, self.position, position)
        self.client.hand_over(self._stray)

    def _stray(self) -> None:
        try:
            self._read_slowly(self._receive(_READ_BYTES))
        except (BlockingIOError, ssl.SSLWantReadError):
            return

    def leave(self) -> None:
        """Leave the stream, as no more messages are expected."""
        self.stream.leave(self.position)
