"""A channel as this process sees it: who gets what is published to it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from reverb.protocol.frames import compressed_text_frame, text_frame


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


class Batch:
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


class Audience(Protocol):
    """The way to all subscribers of one channel at once."""

    def changed(self) -> None:
        """Take note that somebody has come or gone."""

    def send(self, batch: Batch, but: Collection[Subscriber]) -> None:
        """Send frames to all subscribers but some."""


AudienceFactory = Callable[[Mapping[str, Subscriber]], Audience]
"""Makes the audience of a channel out of its subscribers, whom it goes on looking at."""


class OneByOne:
    """Sends to any kind of subscribers."""

    __slots__ = ("_subscribers",)

    def __init__(self, subscribers: Mapping[str, Subscriber]) -> None:
        self._subscribers = subscribers

    def changed(self) -> None:
        """Have nothing to do: nothing is remembered of them."""

    def send(self, batch: Batch, but: Collection[Subscriber]) -> None:
        """Send frames to all subscribers but some."""
        for subscriber in self._subscribers.values():
            if subscriber not in but:
                batch.send_to(subscriber)


class _Newcomer:
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
        make_audience: Makes the way to all subscribers.

    Attributes:
        subscribers: The connections that have been welcomed, by socket id.
        pending: Frames published in this turn of the reactor and not yet sent.
    """

    __slots__ = ("_audience", "_newcomers", "_since", "pending", "subscribers")

    def __init__(self, make_audience: AudienceFactory = OneByOne) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.pending: list[Frame] = []
        self._audience = make_audience(self.subscribers)
        self._newcomers: dict[str, _Newcomer] = {}
        # What of the pending frames is older than a subscription, where any is.
        self._since: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.subscribers) + len(self._newcomers)

    def __contains__(self, socket_id: str) -> bool:
        return socket_id in self.subscribers or socket_id in self._newcomers

    def expect(self, socket_id: str) -> None:
        """Begin to keep what is published for a newcomer."""
        self._newcomers[socket_id] = _Newcomer(len(self.pending))

    def confirmed(self, socket_id: str) -> None:
        """Take note that a newcomer knows the members as they are now."""
        self._newcomers[socket_id].confirmed = True

    def pass_over_unconfirmed(self) -> None:
        """Keep the frame that is added next from newcomers whom the list of members awaits."""
        for newcomer in self._newcomers.values():
            if not newcomer.confirmed:
                newcomer.held += self.pending[newcomer.since :]
                newcomer.since = len(self.pending) + 1

    def welcome(self, socket_id: str, connection: Subscriber) -> None:
        """Make a newcomer a subscriber, and send what has come meanwhile."""
        newcomer = self._newcomers.pop(socket_id)
        _send(newcomer.held, socket_id, connection)
        if newcomer.since:
            self._since[socket_id] = newcomer.since
        self.subscribers[socket_id] = connection
        self._audience.changed()

    def awaits(self, socket_id: str, payload: bytes) -> bool:
        """Tell whether a newcomer will get a message when it is welcomed."""
        newcomer = self._newcomers[socket_id]
        coming = [*newcomer.held, *self.pending[newcomer.since :]]
        return any(f.payload == payload and f.exclude != socket_id for f in coming)

    def remove(self, socket_id: str) -> None:
        """Let somebody go, who gets what was published until now."""
        connection = self.subscribers.pop(socket_id, None)
        since = self._since.pop(socket_id, 0)
        if connection is None:
            del self._newcomers[socket_id]
            return
        self._audience.changed()
        _send(self.pending[since:], socket_id, connection)

    def flush(self) -> None:
        """Send the pending frames."""
        pending, self.pending = self.pending, []
        for newcomer in self._newcomers.values():
            newcomer.held += pending[newcomer.since :]
            newcomer.since = 0
        since, self._since = self._since, {}
        subscribers = self.subscribers
        # Those for whom it is not simply all of them.
        special = {f.exclude for f in pending if f.exclude in subscribers} | since.keys()
        self._audience.send(Batch(pending), [subscribers[i] for i in special] if special else ())
        for socket_id in special:
            _send(pending[since.get(socket_id, 0) :], socket_id, subscribers[socket_id])


def _send(frames: Iterable[Frame], socket_id: str, connection: Subscriber) -> None:
    """Send to one subscriber what of the frames it may get."""
    own = [frame for frame in frames if frame.exclude != socket_id]
    if own:
        Batch(own).send_to(connection)
