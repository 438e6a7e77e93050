"""The write path to one client, with backpressure.

A frame for a plain TCP connection without queued bytes is written to the socket at once, which
costs a third of a write through Twisted's buffer and the reactor. Bytes that the kernel does not
accept go through ``transport.write``, and so do all frames while bytes are queued, to keep order.
This module reads private attributes of Twisted's ``FileDescriptor``; a test fails when Twisted
changes them.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from socket import IPPROTO_TCP
from typing import Protocol, TypeGuard

from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer, ITransport
from zope.interface import implementer

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", -1)  # Python defines it on Linux.
_MAX_UNSENT_BYTES = 131_072
"""The maximum number of unsent bytes that the kernel buffers for one client.

By default the kernel would buffer some 4 MB for a client that does not read, before the server
notices that the client is slow.
"""


class Outbox(Protocol):
    """Sends bytes to one client, and reports when too many bytes are queued for it."""

    def send(self, data: bytes) -> None:
        """Send bytes, or queue those that cannot be sent now. Does not block."""

    def close(self) -> None:
        """Drop all bytes passed to :meth:`send` from now on. Queued bytes are still written."""

    def detach(self) -> None:
        """Release the transport of a connection that is lost."""


class NullOutbox:
    """The outbox of a connection that is not open yet or is closed."""

    def send(self, data: bytes) -> None:
        """Drop the bytes."""

    def close(self) -> None:
        """Do nothing: :meth:`send` drops all bytes anyway."""

    def detach(self) -> None:
        """Do nothing: there is no transport."""


class SocketTable:
    """Records which of a node's sockets the fan-out must not write to directly.

    The table covers only the sockets that have a :class:`DirectOutbox`.

    Attributes:
        busy: By descriptor, the outboxes whose sockets must not be written to directly, because
            bytes are queued in the transport or the outbox is closed.
        closed_count: The number of sockets that have closed. The kernel may assign the descriptor
            of a closed socket to another connection. Code that keeps descriptors must therefore
            compare this number before each use, and discard the descriptors when it has changed.
    """

    def __init__(self) -> None:
        self.busy: dict[int, DirectOutbox] = {}
        self.closed_count = 0


def is_plain_tcp(transport: object) -> TypeGuard[tcp.Connection]:
    """Return whether a transport is plain TCP: a TCP or UNIX socket without TLS, on POSIX."""
    return isinstance(transport, tcp.Connection) and not transport.TLS and os.name == "posix"


def send_now(transport: tcp.Connection, data: bytes) -> None:
    """Write to the socket at once, or append to the transport's queue if bytes are queued already.

    Other code may write to the transport as well, as it does on an HTTP connection.

    Args:
        transport: A transport for which :func:`is_plain_tcp` is true.
        data: The bytes.
    """
    sent = 0
    if transport.connected and not (_queued_bytes(transport) or transport.disconnecting):
        # The socket is full or broken. Twisted finds out which when it writes the rest.
        with suppress(OSError):
            sent = transport.socket.send(data)
    if sent != len(data):
        transport.write(data[sent:])


def _queued_bytes(transport: tcp.Connection) -> int:
    """Return the number of bytes that are queued in a transport."""
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def make_outbox(
    transport: ITransport,
    sockets: SocketTable,
    max_buffered_bytes: int,
    on_overflow: Callable[[], None],
) -> Outbox:
    """Make the outbox that fits a transport.

    Args:
        transport: A transport without a producer, to which no other code writes.
        sockets: The socket table of the node.
        max_buffered_bytes: Bytes that may be queued for the client; 0 for no limit.
        on_overflow: Called once, when more than ``max_buffered_bytes`` are queued. The function
            should end the connection, as :class:`reverb.transport.websocket.PusherConnection` does.

    Returns:
        A :class:`DirectOutbox` for a plain TCP connection, else a :class:`BufferedOutbox`.
    """
    if is_plain_tcp(transport):
        return DirectOutbox(transport, sockets, max_buffered_bytes, on_overflow)
    return BufferedOutbox(transport, max_buffered_bytes, on_overflow)


class DirectOutbox:
    """Writes to a plain socket directly, and through Twisted only while bytes are queued.

    Args:
        transport: The transport of the socket.
        sockets: The socket table of the node.
        max_buffered_bytes: Bytes that may be queued for the client; 0 for no limit.
        on_overflow: Called once, when more than ``max_buffered_bytes`` are queued.

    Attributes:
        descriptor: The descriptor of the socket; None once the connection is lost.
    """

    __slots__ = (
        "_closed",
        "_max_buffered_bytes",
        "_on_overflow",
        "_sockets",
        "_transport",
        "descriptor",
    )

    def __init__(
        self,
        transport: tcp.Connection,
        sockets: SocketTable,
        max_buffered_bytes: int,
        on_overflow: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._sockets = sockets
        self._max_buffered_bytes = max_buffered_bytes
        self._on_overflow = on_overflow
        self._closed = False
        self.descriptor: int | None = transport.fileno()
        # Unix sockets do not support this option.
        with suppress(OSError):
            transport.socket.setsockopt(IPPROTO_TCP, _NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
        if _queued_bytes(transport):
            sockets.busy[transport.fileno()] = self

    def send(self, data: bytes) -> None:
        """Write bytes to the socket, or queue those that cannot be written now."""
        descriptor = self.descriptor
        if descriptor is None or self._closed:
            return
        busy = self._sockets.busy
        if descriptor in busy:
            if _queued_bytes(self._transport):
                self.queue(data)
                return
            del busy[descriptor]
        try:
            sent = os.write(descriptor, data)
        except OSError:
            # The socket is full or broken. Twisted finds out which when it writes the rest.
            sent = 0
        if sent != len(data):
            self.queue(data[sent:])

    def queue(self, data: bytes) -> None:
        """Append bytes to the transport's queue; call ``on_overflow`` if the queue is too long."""
        if self.descriptor is None or self._closed:
            return
        self._sockets.busy[self.descriptor] = self
        self._transport.write(data)
        if self._max_buffered_bytes and _queued_bytes(self._transport) > self._max_buffered_bytes:
            self._max_buffered_bytes = 0  # Do not report again.
            self._on_overflow()

    def close(self) -> None:
        """Stop sending. Bytes that are queued are still written."""
        self._closed = True
        if self.descriptor is not None:
            self._sockets.busy[self.descriptor] = self

    def detach(self) -> None:
        """Release the descriptor, and count the socket as closed."""
        if self.descriptor is not None:
            self._sockets.busy.pop(self.descriptor, None)
            self._sockets.closed_count += 1
            self.descriptor = None


@implementer(IPushProducer)
class BufferedOutbox:
    """Writes to a transport of any kind, such as TLS, and counts the bytes sent while it is full.

    The outbox registers as the transport's producer. The transport then reports when it is full,
    and when it is empty again.

    Args:
        transport: A transport without a producer.
        max_buffered_bytes: Bytes that may be sent while the transport is full; 0 for no limit.
        on_overflow: Called once, when more than ``max_buffered_bytes`` are sent while the transport
            is full.
    """

    descriptor: int | None = None

    def __init__(
        self, transport: ITransport, max_buffered_bytes: int, on_overflow: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._max_buffered_bytes = max_buffered_bytes
        self._on_overflow = on_overflow
        self._full = False
        self._closed = False
        self._queued_bytes = 0
        transport.registerProducer(self, streaming=True)  # type: ignore[attr-defined] # every stream transport is a consumer

    def send(self, data: bytes) -> None:
        """Write bytes to the transport, and call ``on_overflow`` if too many are queued."""
        if self._closed:
            return
        self._transport.write(data)
        if self._full:
            self._queued_bytes += len(data)
            if self._max_buffered_bytes and self._queued_bytes > self._max_buffered_bytes:
                self._max_buffered_bytes = 0  # Do not report again.
                self._on_overflow()

    def close(self) -> None:
        """Stop sending. Bytes that are queued are still written."""
        self._closed = True

    def detach(self) -> None:
        """Stop sending: the connection is lost."""
        self._closed = True

    def pauseProducing(self) -> None:
        """Record that the transport is full. The transport may call this repeatedly."""
        self._full = True

    def resumeProducing(self) -> None:
        """Record that the transport is empty again, and reset the count of queued bytes."""
        self._full = False
        self._queued_bytes = 0

    def stopProducing(self) -> None:
        """Stop counting the queued bytes, as the transport is closed."""
        self._full = False
