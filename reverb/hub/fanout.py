"""The way from one publication to every subscriber on this node.

What is published to a channel within one turn of the reactor goes out together
at its end: one send for each subscriber, however many publications there were.
That is the difference between 4 and 0.5 microseconds for a delivery.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.hub.channel import Channel, Frame

_REST = 0.5
"""How long the fan-out rests after publishers have overtaken it, in units of what it has done."""
_LEAST_REST = 0.0005
"""Seconds that are worth a rest; a reactor's timers are no finer."""
_MOST_REST = 0.005
"""Seconds that it rests at most."""


class Fanout:
    """Gathers frames for each channel and sends them at the end of the turn.

    When several publications to a channel have come in one turn, publishers
    are faster than the sending. A short rest then lets more of them come
    together; whoever publishes at leisure never waits for it.

    Ordering: a channel's frames are sent in the order they came.

    Args:
        clock: Whose next turn ends this one.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: list[Channel] = []
        self._rest_until = 0.0

    def add(self, channel: Channel, payload: bytes, exclude: str | None) -> None:
        """Send a message to a channel's subscribers when the turn ends.

        Args:
            channel: With at least one subscriber.
            payload: The message, JSON.
            exclude: The socket id that must not get it.
        """
        if not channel.pending:
            if not self._waiting or channel.meter is not None:
                channel.pending_since = self._clock.seconds()
            if not self._waiting:
                rest = self._rest_until - channel.pending_since
                self._clock.callLater(rest if rest > _LEAST_REST else 0, self._flush)
            self._waiting.append(channel)
        channel.pending.append(Frame(payload, exclude))

    def _flush(self) -> None:
        began = self._clock.seconds()
        waiting, self._waiting = self._waiting, []
        overtaken = False
        for channel in waiting:
            count = len(channel.pending)
            overtaken |= count > 1
            try:
                channel.flush()
            except Exception:  # noqa: BLE001 - one channel's failure is not the others'
                self._log.failure("sending to a channel's subscribers")
            if channel.meter is not None:
                # Each has waited for as long as the first of them, or less.
                latency = self._clock.seconds() - channel.pending_since
                channel.meter.latency.observe(latency, count)
        if overtaken:
            ended = self._clock.seconds()
            self._rest_until = ended + min((ended - began) * _REST, _MOST_REST)
