"""The way to many clients at once: one system call each, and little beside it.

This is the innermost loop of the server. It sees descriptors, not connections:
to look at each connection would cost half as much as the system call does.
"""

import os
from collections.abc import Collection, Iterable, Mapping

from reverb.hub.channel import Batch, Subscriber
from reverb.transport.outbox import DirectOutbox, Sockets

_UNSORTED = -1


class Broadcast:
    """A channel's subscribers, sorted by how they are reached.

    Args:
        subscribers: By socket id; looked at again whenever they have changed.
        sockets: Those of the node.
    """

    __slots__ = ("_direct", "_losses", "_others", "_sockets", "_subscribers")

    def __init__(self, subscribers: Mapping[str, Subscriber], sockets: Sockets) -> None:
        self._subscribers = subscribers
        self._sockets = sockets
        self._direct: dict[int, DirectOutbox] = {}
        self._others: list[Subscriber] = []
        self._losses = _UNSORTED

    def changed(self) -> None:
        """Sort anew before the next batch."""
        self._losses = _UNSORTED

    def send(self, batch: Batch, but: Collection[Subscriber]) -> None:
        """Send frames to all subscribers but some."""
        # After a loss a descriptor may be somebody else's, whatever the channel knows of it.
        if self._losses != self._sockets.losses:
            self._sort()
        frames = batch.plain
        direct = self._direct
        descriptors: Iterable[int] = direct
        if but:
            excluded = {_outbox(subscriber) for subscriber in but}
            descriptors = [d for d in descriptors if direct[d] not in excluded]
        if self._sockets.busy:
            descriptors = self._send_to_busy(descriptors, frames)
        _write(frames, descriptors, direct)
        for subscriber in self._others:
            if subscriber not in but:
                batch.send_to(subscriber)

    def _sort(self) -> None:
        self._direct = {}
        self._others = []
        for subscriber in self._subscribers.values():
            outbox = _outbox(subscriber)
            if isinstance(outbox, DirectOutbox) and outbox.descriptor is not None:
                self._direct[outbox.descriptor] = outbox
            else:
                self._others.append(subscriber)
        self._losses = self._sockets.losses

    def _send_to_busy(self, descriptors: Iterable[int], frames: bytes) -> list[int]:
        """Have the busy ones send, and tell which are left."""
        busy = self._sockets.busy
        idle = []
        for descriptor in descriptors:
            if descriptor in busy:
                busy[descriptor].send(frames)
            else:
                idle.append(descriptor)
        return idle


def _outbox(subscriber: Subscriber) -> object:
    return getattr(subscriber, "outbox", None)


def _write(
    frames: bytes, descriptors: Iterable[int], outboxes: Mapping[int, DirectOutbox]
) -> None:
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
