"""Sends the pending frames of several channels to the subscribers that the channels share.

If each channel sent its own frames, a client of two channels would receive the frames of the first
channel before older frames of the second, and with one write for each
channel. So the subscribers of several pending channels are grouped by their channels. Each group
receives the frames of its channels with one write, in the order of publication.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from reverb.hub.channel import Channel, FanoutTargetFactory, Subscriber
from reverb.protocol.frames import Frame, FrameBatch

get_number = attrgetter("number")
"""Returns the number of a frame: its position in the order of publication."""


class SharedSubscribers:
    """Subscribers that all receive the same pending frames of several channels.

    Args:
        channels: The channels, all of one app.
        subscribers: The subscribers, at least one, by socket id.
    """

    def __init__(self, channels: Sequence[Channel], subscribers: dict[str, Subscriber]) -> None:
        self._channels = channels
        self._subscribers = subscribers

    def send(self, make_fanout_target: FanoutTargetFactory) -> None:
        """Send the subscribers the pending frames, and let the channels skip these subscribers.

        Args:
            make_fanout_target: Creates the target that writes to the subscribers.
        """
        frames = self._take()
        if frames:
            batch = FrameBatch(sorted(frames, key=get_number))
            meter = self._channels[0].meter
            meter.messages_sent += len(frames) * len(self._subscribers)
            meter.bytes_sent += make_fanout_target(self._subscribers).send(batch, ())

    def _take(self) -> list[Frame]:
        """Return the subscribers' pending frames, and mark the frames as sent to them."""
        frames: list[Frame] = []
        for channel in self._channels:
            frames += channel.pending_frames
            channel.mark_sent(self._subscribers)
        return frames


class PartialSubscriber(SharedSubscribers):
    """One subscriber of several channels that does not receive all of their pending frames."""

    def _take(self) -> list[Frame]:
        (socket_id,) = self._subscribers
        return [frame for channel in self._channels for frame in channel.take(socket_id)]


def group_shared(channels: Sequence[Channel]) -> list[SharedSubscribers]:
    """Group the subscribers of more than one of the given channels.

    Args:
        channels: The channels with pending frames.

    Returns:
        The groups; an empty list if no two channels share a subscriber.
    """
    shared = _find_shared(channels)
    if not shared:
        return []
    channels_of: dict[str, list[Channel]] = {socket_id: [] for socket_id in shared}
    partial: set[str] = set()
    for channel in channels:
        for socket_id in shared.intersection(channel.subscribers):
            channels_of[socket_id].append(channel)
        partial |= channel.partial_subscribers()
    groups: dict[tuple[Channel, ...], dict[str, Subscriber]] = {}
    for socket_id in shared - partial:
        own = channels_of[socket_id]
        groups.setdefault(tuple(own), {})[socket_id] = own[0].subscribers[socket_id]
    return [
        *(SharedSubscribers(own, subscribers) for own, subscribers in groups.items()),
        *(_partial(socket_id, channels_of[socket_id]) for socket_id in shared & partial),
    ]


def _partial(socket_id: str, channels: Sequence[Channel]) -> PartialSubscriber:
    return PartialSubscriber(channels, {socket_id: channels[0].subscribers[socket_id]})


def _find_shared(channels: Iterable[Channel]) -> set[str]:
    """Return the socket ids of the subscribers of more than one channel."""
    seen: set[str] = set()
    shared: set[str] = set()
    for channel in channels:
        shared.update(seen.intersection(channel.subscribers))
        seen.update(channel.subscribers)
    return shared
