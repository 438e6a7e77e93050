"""The fan-out: it sends a channel's publications to the channel's subscribers on this node.

The fan-out coalesces the publications between two flushes, usually those of one turn
of the reactor: it sends each subscriber all of these publications with one write.
Most of the cost of a delivery is the write, so coalesced deliveries are several times
cheaper.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.hub.channel import Channel
from reverb.protocol.frames import Frame
from reverb.throttled_log import FailureLog

_PAUSE_RATIO = 0.5
"""The length of the pause after a flush that coalesced frames, relative to the flush's duration."""
_MIN_PAUSE = 0.0005
"""The shortest pause in seconds; a reactor's timers are not precise enough for a shorter one."""
_MAX_PAUSE = 0.005
"""The longest pause in seconds."""


class Fanout:
    """Collects the frames of each channel, and sends them at the end of a turn of the reactor.

    Several publications to one channel within one turn show that publishers
    are faster than the fan-out. After a flush with coalesced frames, the fan-out
    therefore pauses for up to 5 ms, so that the next flush coalesces more frames.
    After a flush without coalesced frames, the fan-out does not pause.

    Ordering: a channel's frames are sent in the order of their publication.

    Args:
        clock: The reactor; schedules the flushes.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._log = FailureLog(Logger())
        self._clock = clock
        self._pending_channels: list[Channel] = []
        self._paused_until = 0.0

    @property
    def pending_channels(self) -> Sequence[Channel]:
        """The channels whose pending frames the next flush sends."""
        return self._pending_channels

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
        channel.pending_frames.append(Frame(payload, exclude))

    def _flush(self) -> None:
        started = self._clock.seconds()
        channels, self._pending_channels = self._pending_channels, []
        coalesced = False
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
        if coalesced:
            ended = self._clock.seconds()
            self._paused_until = ended + min((ended - started) * _PAUSE_RATIO, _MAX_PAUSE)
