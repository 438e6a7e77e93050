"""A channel on this node: its subscribers, and the frames that wait to be sent to them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from reverb.meter import AppMeter
from reverb.protocol.frames import Frame, FrameBatch
from reverb.protocol.names import ChannelKind


class Subscriber(Protocol):
    """A receiver of a channel's frames; has the method of IConnection that a channel uses."""

    def send_batch(self, batch: FrameBatch) -> None:
        """Send the messages of a batch with one write."""


class FanoutTarget(Protocol):
    """All subscribers of one channel, as the fan-out writes to them."""

    def subscribers_changed(self) -> None:
        """Note that a subscriber was added or removed.

        A target that keeps data derived from the subscribers updates the data
        before the next batch.
        """

    def send(self, batch: FrameBatch, exclude: Collection[Subscriber]) -> int:
        """Send frames to all subscribers except the excluded ones.

        Returns:
            The number of bytes sent, over all subscribers.
        """


FanoutTargetFactory = Callable[[Mapping[str, Subscriber]], FanoutTarget]
"""Creates the fanout target of a channel from the channel's subscribers, by socket id.

The target keeps the mapping, which the channel updates when its subscribers change.
"""


class SequentialTarget:
    """A fanout target that calls the ``send_batch`` method of one subscriber after the other."""

    __slots__ = ("_subscribers",)

    def __init__(self, subscribers: Mapping[str, Subscriber]) -> None:
        self._subscribers = subscribers

    def subscribers_changed(self) -> None:
        """Do nothing: :meth:`send` uses the current subscribers."""

    def send(self, batch: FrameBatch, exclude: Collection[Subscriber]) -> int:
        """Send frames to all subscribers except the excluded ones; return the number of bytes."""
        for subscriber in self._subscribers.values():
            if subscriber not in exclude:
                subscriber.send_batch(batch)
        return len(batch.plain) * (len(self._subscribers) - len(exclude))


class _PendingSubscriber:
    """The state of a pending subscriber: a connection whose subscription is not active yet.

    Attributes:
        confirmed: Whether the connection has been sent the confirmation of its subscription.
        first_frame: The index in the channel's ``pending_frames`` of the first frame that the
            channel must still add to ``held_frames``.
        held_frames: The frames that the connection receives at its activation,
            oldest first.
    """

    __slots__ = ("confirmed", "first_frame", "held_frames")

    def __init__(self, first_frame: int) -> None:
        self.confirmed = False
        self.first_frame = first_frame
        self.held_frames: list[Frame] = []


class Channel:
    """One channel with subscribers on this node.

    A connection that subscribes is a *pending subscriber* until its activation.
    The channel holds back the frames for a pending subscriber. A pending subscriber
    therefore misses no publication while the store answers, and receives none
    before the confirmation.

    Args:
        meter: The app's meter.
        make_fanout_target: Creates the channel's fanout target.
        kind: The channel's kind.

    Attributes:
        subscribers: The active subscribers, by socket id.
        pending_frames: The frames that the next flush sends, oldest first.
        pending_since: The clock's time in seconds when the oldest pending frame
            was added.
    """

    __slots__ = (
        "_first_frames",
        "_pending_subscribers",
        "_target",
        "kind",
        "meter",
        "pending_frames",
        "pending_since",
        "subscribers",
    )

    def __init__(
        self,
        meter: AppMeter,
        make_fanout_target: FanoutTargetFactory = SequentialTarget,
        kind: ChannelKind = ChannelKind.PUBLIC,
    ) -> None:
        self.kind = kind
        self.meter = meter
        self.subscribers: dict[str, Subscriber] = {}
        self.pending_frames: list[Frame] = []
        self.pending_since = 0.0
        self._target = make_fanout_target(self.subscribers)
        self._pending_subscribers: dict[str, _PendingSubscriber] = {}
        # By socket id, for subscribers that must not receive all pending frames: the index of the
        # first pending frame that they receive.
        self._first_frames: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.subscribers) + len(self._pending_subscribers)

    def __contains__(self, socket_id: str) -> bool:
        return socket_id in self.subscribers or socket_id in self._pending_subscribers

    def reserve(self, socket_id: str) -> None:
        """Add a pending subscriber, and hold back its frames from now on."""
        self._pending_subscribers[socket_id] = _PendingSubscriber(len(self.pending_frames))

    def mark_confirmed(self, socket_id: str) -> None:
        """Record that a pending subscriber has been sent the confirmation.

        Does nothing when the subscriber has left, for example because too many
        bytes were queued for the connection when the confirmation was sent.
        """
        pending = self._pending_subscribers.get(socket_id)
        if pending is not None:
            pending.confirmed = True

    def skip_unconfirmed(self) -> None:
        """Exclude the pending subscribers without a confirmation from the next frame.

        The caller must then add a frame that announces a member change. An
        unconfirmed subscriber does not need the frame, because its confirmation
        will list the members after the change.
        """
        for pending in self._pending_subscribers.values():
            if not pending.confirmed:
                pending.held_frames += self.pending_frames[pending.first_frame :]
                pending.first_frame = len(self.pending_frames) + 1

    def held_frames(self, socket_id: str) -> list[Frame]:
        """Return the frames that a pending subscriber must receive before its activation."""
        held = self._pending_subscribers[socket_id].held_frames
        return [frame for frame in held if frame.exclude != socket_id]

    def activate(self, socket_id: str, connection: Subscriber) -> None:
        """Turn a pending subscriber into an active one; it must have been sent the held frames."""
        pending = self._pending_subscribers.pop(socket_id)
        if pending.first_frame:
            self._first_frames[socket_id] = pending.first_frame
        self.subscribers[socket_id] = connection
        self._target.subscribers_changed()

    def will_receive(self, socket_id: str, payload: bytes) -> bool:
        """Return whether the channel holds a message back for a pending subscriber.

        Args:
            socket_id: The subscriber's socket id.
            payload: The message in JSON.
        """
        pending = self._pending_subscribers[socket_id]
        frames = [*pending.held_frames, *self.pending_frames[pending.first_frame :]]
        return any(f.payload == payload and f.exclude != socket_id for f in frames)

    def remove(self, socket_id: str) -> None:
        """Remove a subscriber, which receives no pending and no held frame any more.

        Does nothing for an unknown socket id.
        """
        self._pending_subscribers.pop(socket_id, None)
        self._first_frames.pop(socket_id, None)
        if self.subscribers.pop(socket_id, None) is not None:
            self._target.subscribers_changed()

    def take(self, socket_id: str) -> list[Frame]:
        """Return the pending frames for an active subscriber, whom the next flush skips for them.

        Return an empty list for any other socket id.
        """
        if not self.pending_frames or socket_id not in self.subscribers:
            return []
        first_frame = self._first_frames.get(socket_id, 0)
        self.mark_sent([socket_id])
        return [f for f in self.pending_frames[first_frame:] if f.exclude != socket_id]

    def mark_sent(self, socket_ids: Iterable[str]) -> None:
        """Record that active subscribers have been sent all frames that are pending now."""
        self._first_frames |= dict.fromkeys(socket_ids, len(self.pending_frames))

    def partial_subscribers(self) -> set[str]:
        """Return the active subscribers that must not be sent all pending frames, by socket id."""
        subscribers = self.subscribers
        excluded = {f.exclude for f in self.pending_frames if f.exclude in subscribers}
        return excluded | self._first_frames.keys()

    def flush(self) -> None:
        """Send the pending frames to active subscribers, and hold them for pending subscribers.

        There must be at least one pending frame.
        """
        frames, self.pending_frames = self.pending_frames, []
        for pending in self._pending_subscribers.values():
            pending.held_frames += frames[pending.first_frame :]
            pending.first_frame = 0
        first_frames, self._first_frames = self._first_frames, {}
        subscribers = self.subscribers
        # A subscriber that does not receive all of the frames gets a write of its own.
        individual = {f.exclude for f in frames if f.exclude in subscribers} | first_frames.keys()
        exclude = [subscribers[i] for i in individual] if individual else ()
        sent = 0
        if not exclude or len(exclude) < len(subscribers):
            sent = self._target.send(FrameBatch(frames), exclude)
        self._count(self.meter, frames, sent, len(individual))
        if individual:
            self._send_individually(frames, individual, first_frames)

    def _send_individually(
        self, frames: list[Frame], socket_ids: Iterable[str], first_frames: Mapping[str, int]
    ) -> None:
        """Send the given subscribers the frames that they have not been sent yet."""
        count, subscribers = len(frames), self.subscribers
        for socket_id in socket_ids:
            first_frame = first_frames.get(socket_id, 0)
            if first_frame < count and socket_id in subscribers:
                self._send(frames[first_frame:], socket_id, subscribers[socket_id])

    def _count(self, meter: AppMeter, frames: list[Frame], sent: int, individual: int) -> None:
        """Count a batch in the meter.

        Args:
            meter: The app's meter.
            frames: The frames of the batch.
            sent: The bytes that the fanout target has sent.
            individual: The number of subscribers that get a write of their own;
                :meth:`_send` counts the messages and bytes of these subscribers.
        """
        total = len(self.subscribers)
        meter.messages_sent += len(frames) * (total - individual)
        meter.bytes_sent += sent
        excluding_one = sum(f.exclude in self.subscribers for f in frames) if individual else 0
        meter.fan_out.observe(total, len(frames) - excluding_one)
        if excluding_one:
            meter.fan_out.observe(total - 1, excluding_one)

    def _send(self, frames: Iterable[Frame], socket_id: str, connection: Subscriber) -> None:
        """Send one subscriber the frames that do not exclude it, and count these frames."""
        own = [frame for frame in frames if frame.exclude != socket_id]
        if not own:
            return
        batch = FrameBatch(own)
        connection.send_batch(batch)
        self.meter.messages_sent += len(own)
        self.meter.bytes_sent += len(batch.plain)
