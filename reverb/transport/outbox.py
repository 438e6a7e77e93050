"""The write path to one client, with backpressure.

A frame for an idle plain TCP connection is written to the socket at once, which costs a third of
a write through Twisted's buffer and the reactor. Bytes that the kernel does not accept, and all
frames that follow while bytes are queued, go through ``transport.write``, so that order is kept.
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
"""Bytes that the kernel buffers for one client, beyond those that it has sent.

By default the kernel would buffer some 4 MB for a client that does not read, and the server would
notice only then that the client is slow.
"""


class Outbox(Protocol):
    """Sends bytes to one client, and reports when too many bytes are queued for it."""

    def send(self, data: bytes) -> None:
        """Send bytes, or queue those that cannot be sent now. Never blocks."""

    def close(self) -> None:
        """Stop sending: drop all bytes that are sent from now on."""

    def detach(self) -> None:
        """Release the transport of a connection that is lost."""


class NullOutbox:
    """The outbox of a connection that is not open yet, or closed."""

    def send(self, data: bytes) -> None:
        """Drop the bytes."""

    def close(self) -> None:
        """Do nothing: nothing is ever sent."""

    def detach(self) -> None:
        """Do nothing: there is no transport."""


class SocketTable:
    """The state of a node's sockets that a fan-out needs to write to them directly.

    Attributes:
        busy: The outboxes, by descriptor, whose sockets must not be written to directly, because
            bytes are queued in the transport or the outbox is closed.
        closed_count: The number of sockets that have closed. The kernel may assign the descriptor
            of a closed socket to another connection, so code that keeps descriptors must check
            this number before each use.
    """

    def __init__(self) -> None:
        self.busy: dict[int, DirectOutbox] = {}
        self.closed_count = 0


def is_plain_tcp(transport: object) -> TypeGuard[tcp.Connection]:
    """Return whether a transport writes to its socket unchanged: TCP without TLS, on POSIX."""
    return isinstance(transport, tcp.Connection) and not transport.TLS and os.name == "posix"


def send_now(transport: tcp.Connection, data: bytes) -> None:
    """Write to a plain socket at once, after all bytes that are queued in its transport.

    For a transport to which other code writes as well, such as that of an HTTP connection.

    Args:
        transport: A transport for which :func:`is_plain_tcp` holds.
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
        sockets: The sockets of the node.
        max_buffered_bytes: Bytes that may be queued for the client; 0 for no limit.
        on_overflow: Called once, when more bytes are queued. It is expected to end the connection,
            as :class:`reverb.transport.websocket.PusherConnection` does.

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
        sockets: The sockets of the node.
        max_buffered_bytes: Bytes that may be queued for the client; 0 for no limit.
        on_overflow: Called once, when more bytes are queued.

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
        """Append bytes to the transport's queue, and call ``on_overflow`` if it is too long."""
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
        """Release the descriptor, which the kernel may assign to another connection."""
        if self.descriptor is not None:
            self._sockets.busy.pop(self.descriptor, None)
            self._sockets.closed_count += 1
            self.descriptor = None


@implementer(IPushProducer)
class BufferedOutbox:
    """Writes to any transport, such as TLS, and counts the bytes sent while it is full.

    It is the transport's producer, to learn when the transport is full and when it is empty.

    Args:
        transport: A transport without a producer.
        max_buffered_bytes: Bytes that may be sent while the transport is full; 0 for no limit.
        on_overflow: Called once, when more are sent.
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
        """Record that the transport is empty again."""
        self._full = False
        self._queued_bytes = 0

    def stopProducing(self) -> None:
        """Record that the transport is closed."""
        self._full = False
