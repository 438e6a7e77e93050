"""Limits how fast a client's frames are read, so that no client slows down other clients.

Frames are read one after the other. No frame is read while a message waits for the store, or while
answers wait because the client does not read them. A connection that has used up its budget for one
turn of the reactor waits for a later turn. A connection that has reached its rate limit waits for
the next second.

While no frame is read, the connection keeps at most one received segment, and pauses the transport.
Further bytes stay in the kernel, and TCP's flow control slows the client down.
"""

import sys
from typing import Protocol

from reverb.transport.rfc6455 import TextServerProtocol
from reverb.transport.round_robin import RoundRobin
from reverb.transport.timing_wheel import TimingWheel

_MAX_EXCESS_SECONDS = 10
"""Consecutive seconds in which a client may reach its rate limit before it is disconnected."""
MESSAGE_TIMEOUT = 60
"""Seconds in which a client must finish a message or a frame that it has begun."""

UNLIMITED = sys.maxsize

# The reasons why no frame is read; they are bits of ``held``.
STEP, ANSWERS, TURN, RATE = 1, 2, 4, 8


class PacedFactory(Protocol):
    """The part of the connection's factory that :class:`PacedProtocol` uses."""

    timing_wheel: TimingWheel
    round_robin: RoundRobin


class PacedProtocol(TextServerProtocol):
    """A WebSocket whose frames are read at a bounded pace.

    Attributes:
        max_frames_per_second: The most frames that are read in a second; ``UNLIMITED`` for no
            limit.
        last_received_at: The tick of the timing wheel at which data was last received or read.
    """

    factory: PacedFactory
    max_frames_per_second = UNLIMITED
    last_received_at = 0
    _frames = 0  # Read since last_received_at.
    _unread = b""
    _paused = False
    _continuing = False
    _rate_deadline = 0
    _exceeded_at = -2
    _excess_seconds = 0
    _message_deadline = 0

    def dataReceived(self, data: bytes) -> None:
        """Record that the client is alive; read the frames in the data, or keep the data."""
        now = self.factory.timing_wheel.now
        if now != self.last_received_at:
            self.last_received_at = now
            self._frames = 0
        left = self.max_frames_per_second - self._frames
        if self.held or left <= 0:
            self._keep(data)
            return
        # The same code as in _read(), because a call would cost as much as the limits do.
        frames, rest = self.read_frames(data, left)
        self._frames += frames
        if rest:
            self._keep(rest)

    @property
    def is_behind(self) -> bool:
        """Whether frames that have arrived are not read yet, or the transport is paused."""
        return self._paused or bool(self._unread)

    def hold(self, reason: int) -> None:
        """Read no frames until :meth:`release` is called with the same reason."""
        self.held |= reason

    def release(self, reason: int) -> None:
        """Remove a reason to read no frames; read frames again if no other reason is left."""
        self.held &= ~reason
        if not self.held and self.is_behind and not self._continuing:
            self._continue()

    def stop_pacing(self) -> None:
        """Read the remaining frames without a rate limit, up to the client's close frame."""
        self.cancel_pacing()
        self.max_frames_per_second = UNLIMITED
        self.release(STEP | ANSWERS | RATE)

    def cancel_pacing(self) -> None:
        """Cancel the deadlines."""
        self.factory.timing_wheel.cancel(self._rate_deadline, self._begin_second)
        self.factory.timing_wheel.cancel(self._message_deadline, self._check_message)

    def discard_unread(self) -> None:
        """Drop the unread bytes of a connection that is lost."""
        self._unread = b""
        self._paused = False

    def pause(self) -> None:
        """Pause the transport, so that further data stays in the kernel."""
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _read(self, data: bytes) -> None:
        frames, rest = self.read_frames(data, self.max_frames_per_second - self._frames)
        self._frames += frames
        if rest:
            self._keep(rest)

    def _keep(self, data: bytes) -> None:
        """Keep data that cannot be read now, and pause the transport until the data is read."""
        self._unread += data
        self.pause()
        if self.held:
            return
        if self._frames >= self.max_frames_per_second:
            self._exceed_rate()
        else:
            self.hold(TURN)
            self.factory.round_robin.add(self._take_turn)

    def _take_turn(self) -> None:
        self.release(TURN)

    def _continue(self) -> None:
        """Read the kept data; resume the transport if no data is left."""
        if self.factory.timing_wheel.now != self.last_received_at:
            self._begin_count()
        data, self._unread = self._unread, b""
        if data and self._frames >= self.max_frames_per_second:
            self._keep(data)
        elif data:
            self._continuing = True
            try:
                self._read(data)
            finally:
                self._continuing = False
        if self._paused and not (self.held or self._unread):
            self._paused = False
            self.transport.resumeProducing()

    def _begin_count(self) -> None:
        # The data that is read now proves that the client was alive while the server did not read.
        self.last_received_at = self.factory.timing_wheel.now
        self._frames = 0

    # The rate limit

    def _exceed_rate(self) -> None:
        """Tell the client that it sends too fast, and read no frame until the next second.

        If the client sends too fast for more than ``_MAX_EXCESS_SECONDS`` consecutive seconds,
        close the connection.
        """
        timing_wheel = self.factory.timing_wheel
        if timing_wheel.now - self._exceeded_at > 1:
            self._excess_seconds = 0
        self._exceeded_at = timing_wheel.now
        self._excess_seconds += 1
        if self._excess_seconds > _MAX_EXCESS_SECONDS:
            self.rate_exceeded(persistent=True)
            return
        self.hold(RATE)
        self._rate_deadline = timing_wheel.schedule(0, self._begin_second)
        if self._excess_seconds == 1:
            self.rate_exceeded(persistent=False)

    def _begin_second(self) -> None:
        self._begin_count()
        self.release(RATE)

    def rate_exceeded(self, *, persistent: bool) -> None:
        """Tell the client that it sends too fast; if ``persistent``, close the connection."""

    # The time limit of a message

    def frames_parsed(self) -> None:
        """Start the time limit if a message or a frame is unfinished; else end the time limit."""
        if not self.unfinished:
            self.frame_finished()
        elif not self._message_deadline and self.state == self.STATE_OPEN:
            self._message_deadline = self.factory.timing_wheel.schedule(
                MESSAGE_TIMEOUT, self._check_message
            )

    def frame_finished(self) -> None:
        """End the time limit, because the message or the frame is complete."""
        if self._message_deadline:
            self.factory.timing_wheel.cancel(self._message_deadline, self._check_message)
            self._message_deadline = 0

    def _check_message(self) -> None:
        self._message_deadline = 0
        if self.is_behind:  # The unread bytes may finish the message.
            self._message_deadline = self.factory.timing_wheel.schedule(0, self._check_message)
        else:
            self.fail_policy(f"A message was not finished within {MESSAGE_TIMEOUT} seconds")
