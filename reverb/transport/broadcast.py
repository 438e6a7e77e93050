"""The way to many clients at once: one system call each, and little beside it.

This is the innermost loop of the server. It sees descriptors, not connections:
to look at each connection would cost half as much as the system call does.
"""

import os
from collections.abc import Collection, Iterable, Mapping

from reverb.hub.channel import FrameBatch, Subscriber
from reverb.transport.outbox import DirectOutbox, SocketTable

_UNSORTED = -1


class BroadcastFanout:
    """A channel's subscribers, sorted by how they are reached.

    Args:
        subscribers: By socket id; looked at again whenever they have changed.
        sockets: Those of the node.
        compression_min_bytes: Bytes of the smallest message that is compressed
            for those who can inflate it.
    """

    __slots__ = (
        "_compressing",
        "_compression_min_bytes",
        "_losses",
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
        self._losses = _UNSORTED

    def subscribers_changed(self) -> None:
        """Sort anew before the next batch."""
        self._losses = _UNSORTED

    def send(self, batch: FrameBatch, exclude: Collection[Subscriber]) -> int:
        """Send frames to all subscribers but some; tell how many bytes that is."""
        # After a loss a descriptor may be somebody else's, whatever the channel knows of it.
        if self._losses != self._sockets.losses:
            self._sort()
        busy = self._sockets.busy
        sent = 0
        if self._plain:
            sent = self._plain.send(batch.plain, exclude, busy)
        if self._compressing:
            frames = batch.compressed(self._compression_min_bytes)
            sent += self._compressing.send(frames, exclude, busy)
        return sent

    def _sort(self) -> None:
        self._plain, self._compressing = _Recipients(), _Recipients()
        for subscriber in self._subscribers.values():
            compresses = getattr(subscriber, "compresses", False)
            (self._compressing if compresses else self._plain).add(subscriber)
        self._losses = self._sockets.losses


class _Recipients:
    """Those who get the same bytes."""

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
        self, frames: bytes, but: Collection[Subscriber], busy: Mapping[int, DirectOutbox]
    ) -> int:
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
            subscriber.send(frames)
        return len(frames) * recipients


def _outbox(subscriber: Subscriber) -> object:
    return getattr(subscriber, "outbox", None)


def _write(frames: bytes, descriptors: Iterable[int], outboxes: Mapping[int, DirectOutbox]) -> None:
    length = len(frames)
    write = os.write
    for descriptor in descriptors:
        try:
            sent = write(descriptor, frames)
        except OSError:
            # Full, or broken: Twisted finds out which when it tries itself.
            sent = 0
        if sent != length:
            outboxes[descriptor].queue(frames[sent:])
