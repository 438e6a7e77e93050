"""A channel as this process sees it: who gets what is published to it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from reverb.meter import AppMeter
from reverb.protocol.frames import compressed_text_frame, text_frame
from reverb.protocol.names import ChannelKind


class Subscriber(Protocol):
    """What gets a channel's frames."""

    def send(self, frames: bytes) -> None:
        """Take ready WebSocket frames."""


class Frame:
    """One publication, as it is sent to everybody.

    Args:
        payload: The message, JSON.
        exclude: The socket id that must not get it.
    """

    __slots__ = ("_compressed", "exclude", "payload", "plain")

    def __init__(self, payload: bytes, exclude: str | None) -> None:
        self.payload = payload
        self.exclude = exclude
        self.plain = text_frame(payload)
        self._compressed = b""

    def compressed(self, min_bytes: int) -> bytes:
        """Get the frame for those who can inflate it: compressed once, if it is large enough."""
        if len(self.payload) < min_bytes:
            return self.plain
        if not self._compressed:
            self._compressed = compressed_text_frame(self.payload)
        return self._compressed


class FrameBatch:
    """Frames that go out together.

    Args:
        frames: In their order, at least one.
    """

    __slots__ = ("_frames", "plain")

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self.plain = b"".join([frame.plain for frame in frames])

    def compressed(self, min_bytes: int) -> bytes:
        """Join the frames for those who can inflate them."""
        return b"".join([frame.compressed(min_bytes) for frame in self._frames])

    def send_to(self, subscriber: Subscriber) -> None:
        """Send the frames to one subscriber, as they are."""
        subscriber.send(self.plain)


class FanoutTarget(Protocol):
    """The way to all subscribers of one channel at once."""

    def changed(self) -> None:
        """Take note that somebody has come or gone."""

    def send(self, batch: FrameBatch, but: Collection[Subscriber]) -> int:
        """Send frames to all subscribers but some; tell how many bytes that is."""


FanoutTargetFactory = Callable[[Mapping[str, Subscriber]], FanoutTarget]
"""Makes the audience of a channel out of its subscribers, whom it goes on looking at."""


class SequentialFanout:
    """Sends to any kind of subscribers."""

    __slots__ = ("_subscribers",)

    def __init__(self, subscribers: Mapping[str, Subscriber]) -> None:
        self._subscribers = subscribers

    def changed(self) -> None:
        """Have nothing to do: nothing is remembered of them."""

    def send(self, batch: FrameBatch, but: Collection[Subscriber]) -> int:
        """Send frames to all subscribers but some; tell how many bytes that is."""
        for subscriber in self._subscribers.values():
            if subscriber not in but:
                batch.send_to(subscriber)
        return len(batch.plain) * (len(self._subscribers) - len(but))


class _PendingSubscriber:
    """Somebody who is not a subscriber yet, and what has come meanwhile.

    Attributes:
        confirmed: Whether it has been told of its subscription, and of the members.
        since: How many of the channel's pending frames are older than the subscription.
        held: Frames that have left the pending ones since.
    """

    __slots__ = ("confirmed", "held", "since")

    def __init__(self, since: int) -> None:
        self.confirmed = False
        self.since = since
        self.held: list[Frame] = []


class Channel:
    """One channel with subscribers on this node.

    A subscriber is a *newcomer* from the moment its subscription is asked for
    until it is confirmed, so that nothing is missed that is published while
    the store answers, and nothing comes before the confirmation.

    Args:
        make_fanout_target: Makes the way to all subscribers.
        kind: What its name says it is.
        meter: That of the app; None to measure nothing.

    Attributes:
        subscribers: The connections that have been welcomed, by socket id.
        pending: Frames published in this turn of the reactor and not yet sent.
        pending_since: When the first of them was published; told to the meter.
    """

    __slots__ = (
        "_audience",
        "_pending_subscribers",
        "_since",
        "kind",
        "meter",
        "pending",
        "pending_since",
        "subscribers",
    )

    def __init__(
        self,
        make_fanout_target: FanoutTargetFactory = SequentialFanout,
        kind: ChannelKind = ChannelKind.PUBLIC,
        meter: AppMeter | None = None,
    ) -> None:
        self.kind = kind
        self.meter = meter
        self.subscribers: dict[str, Subscriber] = {}
        self.pending: list[Frame] = []
        self.pending_since = 0.0
        self._audience = make_fanout_target(self.subscribers)
        self._pending_subscribers: dict[str, _PendingSubscriber] = {}
        # What of the pending frames is older than a subscription, where any is.
        self._since: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.subscribers) + len(self._pending_subscribers)

    def __contains__(self, socket_id: str) -> bool:
        return socket_id in self.subscribers or socket_id in self._pending_subscribers

    def reserve(self, socket_id: str) -> None:
        """Begin to keep what is published for a newcomer."""
        self._pending_subscribers[socket_id] = _PendingSubscriber(len(self.pending))

    def mark_confirmed(self, socket_id: str) -> None:
        """Take note that a newcomer knows the members as they are now; harmless when it has gone.

        It has, when to be told of them was too much for its connection.
        """
        newcomer = self._pending_subscribers.get(socket_id)
        if newcomer is not None:
            newcomer.confirmed = True

    def skip_unconfirmed(self) -> None:
        """Keep the frame that is added next from newcomers whom the list of members awaits."""
        for newcomer in self._pending_subscribers.values():
            if not newcomer.confirmed:
                newcomer.held += self.pending[newcomer.since :]
                newcomer.since = len(self.pending) + 1

    def activate(self, socket_id: str, connection: Subscriber) -> None:
        """Make a newcomer a subscriber, and send what has come meanwhile."""
        newcomer = self._pending_subscribers.pop(socket_id)
        self._send(newcomer.held, socket_id, connection)
        if newcomer.since:
            self._since[socket_id] = newcomer.since
        self.subscribers[socket_id] = connection
        self._audience.changed()

    def will_receive(self, socket_id: str, payload: bytes) -> bool:
        """Tell whether a newcomer will get a message when it is welcomed."""
        newcomer = self._pending_subscribers[socket_id]
        coming = [*newcomer.held, *self.pending[newcomer.since :]]
        return any(f.payload == payload and f.exclude != socket_id for f in coming)

    def remove(self, socket_id: str) -> None:
        """Let somebody go, who gets what was published until now; harmless when it has gone."""
        self._pending_subscribers.pop(socket_id, None)
        connection = self.subscribers.pop(socket_id, None)
        since = self._since.pop(socket_id, 0)
        if connection is None:
            return
        self._audience.changed()
        self._send(self.pending[since:], socket_id, connection)

    def flush(self) -> None:
        """Send the pending frames."""
        pending, self.pending = self.pending, []
        for newcomer in self._pending_subscribers.values():
            newcomer.held += pending[newcomer.since :]
            newcomer.since = 0
        since, self._since = self._since, {}
        subscribers = self.subscribers
        # Those for whom it is not simply all of them.
        special = {f.exclude for f in pending if f.exclude in subscribers} | since.keys()
        but = [subscribers[i] for i in special] if special else ()
        sent = self._audience.send(FrameBatch(pending), but)
        if self.meter is not None:
            self._count(self.meter, pending, sent, len(special))
        for socket_id in special:
            self._send(pending[since.get(socket_id, 0) :], socket_id, subscribers[socket_id])

    def _count(self, meter: AppMeter, pending: list[Frame], sent: int, special: int) -> None:
        """Count what went to all but those that are sent to by themselves."""
        everybody = len(self.subscribers)
        meter.messages_sent += len(pending) * (everybody - special)
        meter.bytes_sent += sent
        but_one = sum(f.exclude in self.subscribers for f in pending) if special else 0
        meter.fan_out.observe(everybody, len(pending) - but_one)
        if but_one:
            meter.fan_out.observe(everybody - 1, but_one)

    def _send(self, frames: Iterable[Frame], socket_id: str, connection: Subscriber) -> None:
        """Send to one subscriber what of the frames it may get."""
        own = [frame for frame in frames if frame.exclude != socket_id]
        if not own:
            return
        batch = FrameBatch(own)
        batch.send_to(connection)
        if self.meter is not None:
            self.meter.messages_sent += len(own)
            self.meter.bytes_sent += len(batch.plain)
