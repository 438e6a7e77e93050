"""The write path: how a frame gets into a client's socket, and what if it does not.

A frame for an idle plain TCP connection is handed to the kernel at once, which
costs a third of the way through Twisted's buffer and the reactor. Whatever the
kernel does not take, and everything that comes while bytes are queued, goes
through ``transport.write``, so that order holds. This reads attributes of
Twisted's ``FileDescriptor`` that are not public; a test fails when they change.
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

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", -1)  # Python knows it on Linux.
_UNSENT = 131_072
"""Bytes that the kernel takes for one client beyond those that are under way.

By itself it would take some 4 MB for one that does not read, before it is seen
to be slow.
"""


class Outbox(Protocol):
    """Sends bytes to one client, and knows when too many wait for it."""

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""

    def shut(self) -> None:
        """Send nothing any more."""

    def forget(self) -> None:
        """Let go of a connection that is lost."""


class NullOutbox:
    """The outbox of a connection to which nothing is sent: not yet, or not any more."""

    def send(self, data: bytes) -> None:
        """Send nothing."""

    def shut(self) -> None:
        """Be shut already."""

    def forget(self) -> None:
        """Have nothing to forget."""


class SocketTable:
    """The sockets of one node, for those who write to many of them.

    Attributes:
        busy: The outboxes, by descriptor, that must not be written past: bytes
            wait in their transports, or they are shut.
        losses: How many have been lost. As soon as its socket is closed a
            descriptor may be another connection's, so whoever keeps
            descriptors looks at this before each use.
    """

    def __init__(self) -> None:
        self.busy: dict[int, DirectOutbox] = {}
        self.losses = 0


def is_plain_tcp(transport: object) -> TypeGuard[tcp.Connection]:
    """Tell whether what is written to a transport goes to its socket as it is."""
    return isinstance(transport, tcp.Connection) and not transport.TLS and os.name == "posix"


def send_now(transport: tcp.Connection, data: bytes) -> None:
    """Write to a plain socket on which others write through the transport, too."""
    sent = 0
    if transport.connected and not (_queued(transport) or transport.disconnecting):
        # Full, or broken: Twisted finds out which when it tries itself.
        with suppress(OSError):
            sent = transport.socket.send(data)
    if sent != len(data):
        transport.write(data[sent:])


def _queued(transport: tcp.Connection) -> int:
    """Count the bytes that wait in a transport."""
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def make_outbox(
    transport: ITransport, sockets: SocketTable, limit: int, overflowed: Callable[[], None]
) -> Outbox:
    """Choose the write path for a transport.

    Args:
        transport: Without a producer; nobody else writes to it.
        sockets: Those of the node.
        limit: Bytes that may wait for the client, 0 for any number.
        overflowed: Called when more do; it is expected to end the connection.
    """
    if is_plain_tcp(transport):
        return DirectOutbox(transport, sockets, limit, overflowed)
    return BufferedOutbox(transport, limit, overflowed)


class DirectOutbox:
    """Writes to a plain socket, through Twisted only when it is not idle.

    Attributes:
        descriptor: Of the socket; None when the connection is lost.
    """

    __slots__ = ("_limit", "_overflowed", "_shut", "_sockets", "_transport", "descriptor")

    def __init__(
        self,
        transport: tcp.Connection,
        sockets: SocketTable,
        limit: int,
        overflowed: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._sockets = sockets
        self._limit = limit
        self._overflowed = overflowed
        self._shut = False
        self.descriptor: int | None = transport.fileno()
        # A Unix socket has no such option.
        with suppress(OSError):
            transport.socket.setsockopt(IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT)
        if _queued(transport):
            sockets.busy[transport.fileno()] = self

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""
        descriptor = self.descriptor
        if descriptor is None or self._shut:
            return
        busy = self._sockets.busy
        if descriptor in busy:
            if _queued(self._transport):
                self.queue(data)
                return
            del busy[descriptor]
        try:
            sent = os.write(descriptor, data)
        except OSError:
            # Full, or broken: Twisted finds out which when it tries itself.
            sent = 0
        if sent != len(data):
            self.queue(data[sent:])

    def queue(self, data: bytes) -> None:
        """Put bytes behind what waits in Twisted, or at its head when nothing does."""
        if self.descriptor is None or self._shut:
            return
        self._sockets.busy[self.descriptor] = self
        self._transport.write(data)
        if self._limit and _queued(self._transport) > self._limit:
            self._limit = 0  # Once is enough.
            self._overflowed()

    def shut(self) -> None:
        """Send nothing any more; what is queued still goes out."""
        self._shut = True
        if self.descriptor is not None:
            self._sockets.busy[self.descriptor] = self

    def forget(self) -> None:
        """Let go of the descriptor, which another connection will get."""
        if self.descriptor is not None:
            self._sockets.busy.pop(self.descriptor, None)
            self._sockets.losses += 1
            self.descriptor = None


@implementer(IPushProducer)
class BufferedOutbox:
    """Writes to any transport, such as TLS, and counts what is sent while it is full."""

    descriptor: int | None = None

    def __init__(self, transport: ITransport, limit: int, overflowed: Callable[[], None]) -> None:
        self._transport = transport
        self._limit = limit
        self._overflowed = overflowed
        self._full = False
        self._shut = False
        self._queued = 0
        transport.registerProducer(self, streaming=True)  # type: ignore[attr-defined] # every stream transport is a consumer

    def send(self, data: bytes) -> None:
        """Send bytes without waiting for anybody."""
        if self._shut:
            return
        self._transport.write(data)
        if self._full:
            self._queued += len(data)
            if self._limit and self._queued > self._limit:
                self._limit = 0  # Once is enough.
                self._overflowed()

    def shut(self) -> None:
        """Send nothing any more."""
        self._shut = True

    def forget(self) -> None:
        """Send nothing any more."""
        self._shut = True

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
