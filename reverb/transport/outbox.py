"""The write path to one client, with backpressure.

If no bytes are queued for a plain TCP connection, the outbox writes a frame directly to the socket.
A direct write costs a third of a write through Twisted's buffer and the reactor. If the kernel does
not accept all bytes of a frame, the outbox passes the remaining bytes to ``transport.write``. While
bytes are queued, the outbox passes all frames to ``transport.write``, so that the frames stay in
order.

The outbox is the push producer of its transport (``IPushProducer``). So the transport calls
``pauseProducing`` when more than 64 KB are queued, and ``resumeProducing`` when the queue is empty
again. From ``pauseProducing`` to ``resumeProducing``, the connection handles no message from the
client, because the answer would have to wait.
"""

import os
from typing import Any, Protocol, cast

from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer, ITransport
from zope.interface import implementer

from reverb.transport.buffer_limit import BufferLimit
from reverb.transport.slow_peers import SlowPeers
from reverb.transport.socket_stats import (
    find_descriptor,
    is_plain_tcp,
    limit_unsent_bytes,
    queued_bytes,
)


class OutboxOwner(Protocol):
    """The methods of a connection that the outbox of the connection calls."""

    def outbox_full(self) -> None:
        """Handle no more messages from the client; the outbox may call this method repeatedly."""

    def outbox_empty(self) -> None:
        """Handle messages from the client again."""

    def too_slow(self, reason: str) -> None:
        """Close the connection, because the client is too slow."""


class Outbox(Protocol):
    """Sends bytes to one client, and reports when too many bytes are queued for the client."""

    def send(self, data: bytes) -> None:
        """Send bytes, or queue the bytes that cannot be sent now. Does not block."""

    def close(self) -> None:
        """Drop all bytes passed to :meth:`send` from now on. Queued bytes are still written."""

    def watch_queue(self) -> None:
        """If bytes are queued for the client, watch whether the client is slow."""

    def detach(self) -> None:
        """Release the transport of a connection that is lost."""


class NullOutbox:
    """The outbox of a connection that is not open yet or is closed."""

    def send(self, data: bytes) -> None:
        """Drop the bytes."""

    def close(self) -> None:
        """Do nothing: :meth:`send` drops all bytes anyway."""

    def watch_queue(self) -> None:
        """Do nothing: no bytes are queued."""

    def detach(self) -> None:
        """Do nothing: there is no transport."""


class SocketTable:
    """Records which of a node's sockets the fan-out must not write to directly.

    The table covers only the sockets that have a :class:`DirectOutbox`.

    Attributes:
        busy: The outboxes, by descriptor, to whose sockets the fan-out must not write directly. An
            outbox is busy if bytes are queued in its transport, or if the outbox is closed.
        closed_count: The number of sockets that have closed. The kernel may assign the descriptor
            of a closed socket to another connection. Code that keeps descriptors must therefore
            compare ``closed_count`` before each use, and discard the descriptors if
            ``closed_count`` has changed.
    """

    def __init__(self) -> None:
        self.busy: dict[int, DirectOutbox] = {}
        self.closed_count = 0


def send_now(transport: tcp.Connection, data: bytes) -> None:
    """Write to the socket at once, or append to the transport's queue if bytes are queued already.

    Other code may also write to the transport, as twisted.web does on an HTTP connection.

    Args:
        transport: A transport for which :func:`is_plain_tcp` is true.
        data: The bytes.
    """
    sent = 0
    if transport.connected and not (queued_bytes(transport) or transport.disconnecting):
        try:
            sent = transport.socket.send(data)
        except OSError:
            # The socket is full or broken. Twisted finds out which when it writes the rest.
            sent = 0
    if sent != len(data):
        transport.write(data[sent:])


def make_outbox(
    transport: ITransport,
    sockets: "SocketTable",
    slow_peers: SlowPeers,
    max_buffered_bytes: int,
    owner: OutboxOwner,
) -> Outbox:
    """Make the outbox that fits a transport.

    Args:
        transport: A transport without a producer, to which no other code writes.
        sockets: The socket table of the node.
        slow_peers: Watches the connection while bytes are queued.
        max_buffered_bytes: The most bytes that may be queued already when a message is added; 0 for
            no limit.
        owner: The connection. The method ``too_slow`` of the owner should close the connection, as
            :class:`reverb.transport.websocket.PusherConnection` does.

    Returns:
        A :class:`DirectOutbox` for a plain TCP connection, else a :class:`BufferedOutbox`.
    """
    limit = BufferLimit(max_buffered_bytes)
    if is_plain_tcp(transport):
        return DirectOutbox(transport, sockets, slow_peers, limit, owner)
    return BufferedOutbox(transport, slow_peers, limit, owner)


class _Backpressure:
    """The base class of the outboxes: watches whether a client is slow while bytes are queued."""

    __slots__ = ("_closed", "_limit", "_owner", "_registered", "_slow_peers", "_transport")

    def __init__(
        self,
        transport: ITransport,
        slow_peers: SlowPeers,
        limit: BufferLimit,
        owner: OutboxOwner,
    ) -> None:
        self._transport = cast(Any, transport)  # ITransport lacks the methods of a consumer.
        self._slow_peers = slow_peers
        self._limit = limit
        self._owner = owner
        self._closed = self._registered = False
        limit_unsent_bytes(transport)

    def watch_queue(self) -> None:
        """If bytes are queued for the client, watch whether the client is slow.

        The transport itself reports a queue of more than 64 KB; this method is for shorter queues.
        """
        if self._queued_bytes():
            self._watch()

    def _queued_bytes(self) -> int:
        raise NotImplementedError

    def _register(self) -> None:
        """Ask the transport to report when its write buffer is full, and when it is empty again."""
        if not (self._registered or self._closed):
            self._registered = True
            self._transport.registerProducer(self, streaming=True)

    def _watch(self) -> None:
        self._slow_peers.watch(self._transport, self._too_slow)

    def _too_slow(self, reason: str) -> None:
        self._limit.remove()  # The error message and the close frame must be sent.
        self._owner.too_slow(reason)

    def _admits(self, queued: int, size: int) -> bool:
        if self._limit.admits(queued, size):
            return True
        self._too_slow("too much unread data is queued")
        return False

    def _close(self) -> None:
        self._closed = True
        if self._registered:
            self._registered = False
            # A transport does not close while it has a producer.
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Handle no messages from the client: the transport's write buffer is full.

        The transport may call this method repeatedly.
        """
        if not self._closed:
            self._watch()
            self._owner.outbox_full()

    def resumeProducing(self) -> None:
        """Handle messages from the client again: the transport's write buffer is empty."""
        if not self._closed:
            self._slow_peers.forget(self._transport)
            self._owner.outbox_empty()

    def stopProducing(self) -> None:
        """Stop watching whether the client is slow: the connection is lost."""
        self._slow_peers.forget(self._transport)


@implementer(IPushProducer)
class DirectOutbox(_Backpressure):
    """Writes to a plain TCP socket directly, and through Twisted only while bytes are queued.

    Args:
        transport: The transport of the socket.
        sockets: The socket table of the node.
        slow_peers: Watches the connection while bytes are queued.
        limit: Limits the bytes that are queued.
        owner: The connection.

    Attributes:
        descriptor: The descriptor of the socket; None once the connection is lost.
    """

    __slots__ = ("_sockets", "descriptor")

    def __init__(
        self,
        transport: tcp.Connection,
        sockets: SocketTable,
        slow_peers: SlowPeers,
        limit: BufferLimit,
        owner: OutboxOwner,
    ) -> None:
        super().__init__(transport, slow_peers, limit, owner)
        self._sockets = sockets
        self.descriptor: int | None = transport.fileno()
        if queued_bytes(transport):
            sockets.busy[transport.fileno()] = self
            self._watch()

    def send(self, data: bytes) -> None:
        """Write bytes to the socket, or queue the bytes that cannot be written now."""
        descriptor = self.descriptor
        if descriptor is None or self._closed:
            return
        busy = self._sockets.busy
        if descriptor in busy:
            if queued_bytes(self._transport):
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
        """Append bytes to the transport's queue.

        If too many bytes are queued already, drop the new bytes and call ``too_slow``.
        """
        if self.descriptor is None or self._closed:
            return
        if not self._admits(queued_bytes(self._transport), len(data)):
            return
        if self.descriptor not in self._sockets.busy:
            self._sockets.busy[self.descriptor] = self
            self._watch()
        self._transport.write(data)

    def _queued_bytes(self) -> int:
        return queued_bytes(self._transport)

    def _watch(self) -> None:
        # Most sockets are never full. Without a producer, a transport needs less memory.
        self._register()
        super()._watch()

    def close(self) -> None:
        """Stop sending. Bytes that are queued are still written."""
        self._close()
        if self.descriptor is not None:
            self._sockets.busy[self.descriptor] = self

    def detach(self) -> None:
        """Release the descriptor, and count the socket as closed."""
        self._slow_peers.forget(self._transport)
        if self.descriptor is not None:
            self._sockets.busy.pop(self.descriptor, None)
            self._sockets.closed_count += 1
            self.descriptor = None


@implementer(IPushProducer)
class BufferedOutbox(_Backpressure):
    """Writes to a transport of any kind, such as TLS.

    Args:
        transport: A transport without a producer.
        slow_peers: Watches the connection while bytes are queued.
        limit: Limits the bytes that are queued.
        owner: The connection.
    """

    descriptor: int | None = None

    def __init__(
        self,
        transport: ITransport,
        slow_peers: SlowPeers,
        limit: BufferLimit,
        owner: OutboxOwner,
    ) -> None:
        self._socket = find_descriptor(transport)
        self._full = False
        self._sent_while_full = 0
        super().__init__(transport, slow_peers, limit, owner)
        self._register()

    def send(self, data: bytes) -> None:
        """Write bytes to the transport.

        If too many bytes are queued already, drop the new bytes and call ``too_slow``.
        """
        if self._closed:
            return
        if self._full:
            if not self._admits(self._queued_bytes(), len(data)):
                return
            self._sent_while_full += len(data)
        else:
            self._limit.admits(0, len(data))  # A large message must not count against the next.
        self._transport.write(data)

    def _queued_bytes(self) -> int:
        """Return how many bytes are queued.

        For a fake transport, return how many bytes were sent while the write buffer was full.
        """
        return self._sent_while_full if self._socket is None else queued_bytes(self._socket)

    def close(self) -> None:
        """Stop sending. Bytes that are queued are still written."""
        self._close()

    def detach(self) -> None:
        """Stop sending: the connection is lost."""
        self._slow_peers.forget(self._transport)
        self._closed = True

    def pauseProducing(self) -> None:
        """Handle no messages from the client: the transport's write buffer is full.

        The transport may call this method repeatedly.
        """
        self._full = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Handle messages from the client again: the transport's write buffer is empty."""
        self._full = False
        self._sent_while_full = 0
        super().resumeProducing()
