"""Writes the same frames to many clients, with one system call for each plain TCP connection.

The loop over the clients is the innermost loop of the server. The loop uses file descriptors,
because the access to a connection object would cost half as much as the system call.
"""

import os
from collections.abc import Collection, Iterable, Mapping

from reverb.hub.channel import Subscriber
from reverb.protocol.frames import FrameBatch
from reverb.transport.outbox import DirectOutbox, Outbox, SocketTable

_NOT_GROUPED = -1
"""The value of ``_closed_count`` when the subscribers must be grouped again.

The value is negative, so it differs from every :attr:`SocketTable.closed_count`.
"""


class BroadcastTarget:
    """A :class:`reverb.hub.channel.FanoutTarget` that writes to sockets directly.

    The target groups the subscribers by two properties: whether they accept compressed frames, and
    whether their connection is plain TCP. Only the socket of a plain TCP connection can be written
    to directly. The target keeps the groups until the subscribers change, or until any plain TCP
    connection of the node closes.

    Args:
        subscribers: The channel's subscribers by socket id. The target keeps the mapping, and reads
            the mapping again after each change.
        sockets: The socket table of the node.
        compression_min_bytes: The size in bytes from which a message is compressed for the clients
            that can inflate it.
    """

    __slots__ = (
        "_closed_count",
        "_compressing",
        "_compression_min_bytes",
        "_plain",
        "_sockets",
        "_subscribers",
    )

    def __init__(
        self,
        subscribers: Mapping[str, Subscriber],
        sockets: SocketTable,
        compression_min_bytes: int,
    ) -> None:
        self._subscribers = subscribers
        self._sockets = sockets
        self._compression_min_bytes = compression_min_bytes
        self._plain = self._compressing = _Recipients()
        self._closed_count = _NOT_GROUPED

    def subscribers_changed(self) -> None:
        """Group the subscribers again before the next batch."""
        self._closed_count = _NOT_GROUPED

    def send(self, batch: FrameBatch, exclude: Collection[Subscriber]) -> int:
        """Send frames to all but the excluded subscribers, and return the number of bytes sent."""
        # The kernel may assign the descriptor of a closed socket to another client before the
        # channel removes the subscriber that has disconnected.
        if self._closed_count != self._sockets.closed_count:
            self._group_subscribers()
        busy = self._sockets.busy
        sent = 0
        if self._plain:
            sent = self._plain.send(batch, batch.plain, exclude, busy)
        if self._compressing:
            frames = batch.compressed(self._compression_min_bytes)
            sent += self._compressing.send(batch, frames, exclude, busy)
        return sent

    def _group_subscribers(self) -> None:
        self._plain, self._compressing = _Recipients(), _Recipients()
        for subscriber in self._subscribers.values():
            compresses = getattr(subscriber, "compresses", False)
            (self._compressing if compresses else self._plain).add(subscriber)
        self._closed_count = self._sockets.closed_count


class _Recipients:
    """Subscribers that receive the same bytes."""

    __slots__ = ("_direct", "_others")

    def __init__(self) -> None:
        self._direct: dict[int, DirectOutbox] = {}
        self._others: list[Subscriber] = []

    def __len__(self) -> int:
        return len(self._direct) + len(self._others)

    def add(self, subscriber: Subscriber) -> None:
        outbox = _outbox(subscriber)
        if isinstance(outbox, DirectOutbox) and outbox.descriptor is not None:
            self._direct[outbox.descriptor] = outbox
        else:
            self._others.append(subscriber)

    def send(
        self,
        batch: FrameBatch,
        frames: bytes,
        but: Collection[Subscriber],
        busy: Mapping[int, DirectOutbox],
    ) -> int:
        """Send a batch to the recipients, and return the total number of bytes sent.

        Args:
            batch: The batch, which is sent to connections other than WebSockets.
            frames: The batch's frames, encoded for the WebSockets among the recipients.
            but: The subscribers to exclude.
            busy: Maps a socket's descriptor to the outbox, if the socket must not be written to
                directly.
        """
        direct, others = self._direct, self._others
        descriptors: Collection[int] = direct
        if but:
            excluded = {_outbox(subscriber) for subscriber in but}
            descriptors = [d for d in descriptors if direct[d] not in excluded]
            others = [subscriber for subscriber in others if subscriber not in but]
        recipients = len(descriptors) + len(others)
        if busy:
            waiting = [d for d in descriptors if d in busy]
            descriptors = [d for d in descriptors if d not in busy]
            for descriptor in waiting:
                direct[descriptor].send(frames)
        _write(frames, descriptors, direct)
        for subscriber in others:
            outbox = _outbox(subscriber)
            if outbox is None:  # The connection is no WebSocket.
                subscriber.send_batch(batch)
            else:
                outbox.send(frames)
        return len(frames) * recipients


def _outbox(subscriber: Subscriber) -> Outbox | None:
    return getattr(subscriber, "outbox", None)


def _write(frames: bytes, descriptors: Iterable[int], outboxes: Mapping[int, DirectOutbox]) -> None:
    length = len(frames)
    write = os.write
    for descriptor in descriptors:
        try:
            sent = write(descriptor, frames)
        except OSError:
            # The socket is full or broken. Twisted finds out which when it writes the rest.
            sent = 0
        if sent != length:
            outboxes[descriptor].queue(frames[sent:])
