"""The fan-out: it sends a channel's publications to the channel's subscribers on this node.

The fan-out coalesces the publications between two flushes, usually those of one turn
of the reactor: it sends each subscriber all of these publications with one write, also
if they are publications to several channels. Most of the cost of a delivery is the write,
so coalesced deliveries are several times cheaper.
"""

from collections.abc import Iterable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.hub.channel import Channel, FanoutTargetFactory, SequentialTarget
from reverb.hub.shared_subscribers import get_number, group_shared
from reverb.protocol.frames import Frame, FrameBatch
from reverb.protocol.session import Session
from reverb.throttled_log import FailureLog

_PAUSE_RATIO = 0.5
"""The length of the pause after a flush that coalesced frames, relative to the flush's duration."""
_MIN_PAUSE = 0.0005
"""The shortest pause in seconds; a reactor's timers are not precise enough for a shorter one."""
_MAX_PAUSE = 0.005
"""The longest pause in seconds."""


class Fanout:
    """Collects the frames of each channel, and sends them at the end of a turn of the reactor.

    Several publications to one subscriber within one turn show that publishers
    are faster than the fan-out. After a flush with coalesced frames, the fan-out
    therefore pauses for up to 5 ms, so that the next flush coalesces more frames.
    After a flush without coalesced frames, the fan-out does not pause.

    Ordering: a subscriber receives the frames of all its channels in the order of their
    publication on this node. Only frames that a channel holds back for a pending
    subscriber arrive later than newer frames of the subscriber's other channels.

    Args:
        clock: The reactor; schedules the flushes.
        make_fanout_target: Creates the fanout target of subscribers that several channels share.
    """

    def __init__(
        self, clock: IReactorTime, make_fanout_target: FanoutTargetFactory = SequentialTarget
    ) -> None:
        self._log = FailureLog(Logger())
        self._clock = clock
        self._make_fanout_target = make_fanout_target
        self._pending_channels: list[Channel] = []
        self._flushing: Sequence[Channel] = ()
        self._paused_until = 0.0
        # The number of the newest frame, and of the newest frame that a flush has sent.
        self._newest = self._newest_flushed = 0

    def add(self, channel: Channel, payload: bytes, exclude: str | None) -> None:
        """Send a message to a channel's subscribers with the next flush.

        Args:
            channel: A channel with at least one subscriber.
            payload: The message in JSON.
            exclude: The socket id of the one connection that must not receive
                the message; None to exclude none.
        """
        if not channel.pending_frames:
            channel.pending_since = self._clock.seconds()
            if not self._pending_channels:
                pause = self._paused_until - channel.pending_since
                self._clock.callLater(pause if pause > _MIN_PAUSE else 0, self._flush)
            self._pending_channels.append(channel)
        self._newest += 1
        channel.pending_frames.append(Frame(payload, exclude, self._newest))

    def send_pending(self, session: Session) -> None:
        """Send a session the pending frames of all its channels now, in their order.

        The next flush skips these frames for the session. Call this method before anything
        that must reach the client after the frames, or that ends a subscription.
        """
        self._send(session, self._take(session))

    def send_held(self, session: Session, frames: list[Frame]) -> None:
        """Send a session the frames that a channel has held back for it.

        If some of the frames are not flushed yet, the pending frames of the session's other
        channels may be older, and are sent in order with the held frames.

        Args:
            session: The session.
            frames: The held frames, oldest first.
        """
        if frames and frames[-1].number > self._newest_flushed:
            frames = [*frames, *self._take(session)]
        self._send(session, frames)

    def _take(self, session: Session) -> list[Frame]:
        channels: Iterable[Channel] = [*self._flushing, *self._pending_channels]
        return [frame for channel in channels for frame in channel.take(session.socket_id)]

    def _send(self, session: Session, frames: list[Frame]) -> None:
        if frames:
            batch = FrameBatch(sorted(frames, key=get_number))
            session.connection.send_batch(batch)
            session.meter.messages_sent += len(frames)
            session.meter.bytes_sent += len(batch.plain)

    def _flush(self) -> None:
        started = self._clock.seconds()
        newest = self._newest
        channels, self._pending_channels = self._pending_channels, []
        coalesced = False
        if len(channels) > 1:
            self._flushing = channels
            coalesced = self._flush_shared(channels)
        for channel in channels:
            count = len(channel.pending_frames)
            coalesced |= count > 1
            try:
                channel.flush()
            except Exception:  # noqa: BLE001 - a failure of one channel must not affect the others
                self._log.failure("failed to send to a channel's subscribers")
            # Each frame is recorded with the latency of the oldest, an upper bound of its own.
            latency = self._clock.seconds() - channel.pending_since
            channel.meter.latency.observe(latency, count)
        self._flushing, self._newest_flushed = (), newest
        if coalesced:
            ended = self._clock.seconds()
            self._paused_until = ended + min((ended - started) * _PAUSE_RATIO, _MAX_PAUSE)

    def _flush_shared(self, channels: Sequence[Channel]) -> bool:
        """Send their frames to the subscribers of several channels; return whether there are any.

        These subscribers receive the frames of all their channels with one write, in the order of
        publication. The flush of each channel then skips these subscribers.
        """
        groups = group_shared(channels)
        for group in groups:
            try:
                group.send(self._make_fanout_target)
            except Exception:  # noqa: BLE001 - a failure of one group must not affect the others
                self._log.failure("failed to send to the subscribers of several channels")
        return bool(groups)
