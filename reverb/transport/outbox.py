"""The write path: how a frame gets into a client's socket, and what if it does not.

A frame for an idle plain TCP connection is handed to the kernel at once, which
costs a third of the way through Twisted's buffer and the reactor. Whatever the
kernel does not take, and everything that comes while bytes are queued, goes
through ``transport.write``, so that order holds. This reads attributes of
Twisted's ``FileDescriptor`` that are not public; a test fails when they change.
"""

from collections.abc import Callable
from typing import Protocol, TypeGuard

from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer, ITransport
from zope.interface import implementer


class Outbox(Protocol):
    """Sends bytes to one client, and knows when too many wait for it."""

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""


def is_plain_tcp(transport: object) -> TypeGuard[tcp.Connection]:
    """Tell whether what is written to a transport goes to its socket as it is."""
    return isinstance(transport, tcp.Connection) and not transport.TLS


def make_outbox(transport: ITransport, limit: int, overflowed: Callable[[], None]) -> Outbox:
    """Choose the write path for a transport.

    Args:
        transport: Without a producer.
        limit: Bytes that may wait for the client, 0 for any number.
        overflowed: Called when more do; it is expected to end the connection.
    """
    if is_plain_tcp(transport):
        return DirectOutbox(transport, limit, overflowed)
    return BufferedOutbox(transport, limit, overflowed)


class DirectOutbox:
    """Writes to a plain socket, through Twisted only when it is not idle."""

    __slots__ = ("_limit", "_overflowed", "_socket_send", "_transport")

    def __init__(
        self, transport: tcp.Connection, limit: int, overflowed: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._socket_send = transport.socket.send
        self._limit = limit
        self._overflowed = overflowed

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""
        transport = self._transport
        if transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting:
            self._queue(data)
            return
        try:
            sent = self._socket_send(data)
        except OSError:
            # Full, or broken: Twisted finds out which when it tries itself.
            sent = 0
        if sent != len(data):
            self._queue(data[sent:])

    def _queue(self, data: bytes) -> None:
        transport = self._transport
        transport.write(data)
        queued = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        if self._limit and queued > self._limit:
            self._overflowed()


@implementer(IPushProducer)
class BufferedOutbox:
    """Writes to any transport, such as TLS, and counts what is sent while it is full."""

    def __init__(self, transport: ITransport, limit: int, overflowed: Callable[[], None]) -> None:
        self._transport = transport
        self._limit = limit
        self._overflowed = overflowed
        self._full = False
        self._queued = 0
        transport.registerProducer(self, streaming=True)  # type: ignore[attr-defined] # every stream transport is a consumer

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""
        self._transport.write(data)
        if self._full:
            self._queued += len(data)
            if self._limit and self._queued > self._limit:
                self._overflowed()

    def pauseProducing(self) -> None:
        """Take note that the transport is full; it may say so many times."""
        self._full = True

    def resumeProducing(self) -> None:
        """Take note that the transport is empty again."""
        self._full = False
        self._queued = 0

    def stopProducing(self) -> None:
        """Take note that the transport is gone."""
        self._full = False
