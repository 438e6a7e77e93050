"""A timing wheel: one timer for the timeouts of all connections.

Callbacks are grouped by the second in which they are due. So the cost of a tick depends on the
number of callbacks that are due, not on the number of connections.
"""

import math
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.meter import Meter
from reverb.throttled_log import FailureLog

_PRECISION = 0.001
"""Seconds by which a tick may be early and count as on time: sums of floats are not exact."""


class TimingWheel:
    """Calls functions after a number of whole seconds, with a single timer.

    The wheel counts time in ticks of one second. While the reactor is stalled, the wheel does not
    tick. So a client whose answer arrived while the reactor was stalled does not count as
    silent.

    Args:
        clock: The reactor, or a test's clock.
        meter: The meter of the node.

    Attributes:
        now: The number of ticks so far, which serves as a clock in seconds. Reading ``now`` is
            cheap enough to be done for each message.
    """

    def __init__(self, clock: IReactorTime, meter: Meter) -> None:
        self._log = FailureLog(Logger())
        self._clock = clock
        self._meter = meter
        self._started_at = 0.0
        self._next_tick_at = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        self.now = 0
        self._callbacks: dict[int, set[Callable[[], None]]] = {}  # By tick.

    def start(self) -> None:
        """Start the timer."""
        self._started_at = self._clock.seconds()
        self._next_tick_at = self._started_at + 1
        self._loop.start(1, now=False)

    def stop(self) -> None:
        """Stop the timer, and cancel all callbacks."""
        if self._loop.running:
            self._loop.stop()
        self._callbacks.clear()

    def schedule(self, seconds: int, callback: Callable[[], None]) -> int:
        """Schedule one call of a function, after ``seconds`` to ``seconds + 1`` seconds.

        Args:
            seconds: The delay in seconds.
            callback: Called once, without arguments. An exception of the callback is logged.

        Returns:
            The tick at which the call is due, to pass to :meth:`cancel`.
        """
        # The rest of the current second does not count as a part of the delay.
        due = self.now + seconds + 1
        self._callbacks.setdefault(due, set()).add(callback)
        return due

    def cancel(self, due: int, callback: Callable[[], None]) -> None:
        """Cancel a call. Do nothing if the call was made or canceled already.

        Args:
            due: The number that :meth:`schedule` returned.
            callback: The function that was passed to :meth:`schedule`.
        """
        callbacks = self._callbacks.get(due)
        if callbacks is not None:
            callbacks.discard(callback)
            if not callbacks:
                del self._callbacks[due]

    def __len__(self) -> int:
        return sum(map(len, self._callbacks.values()))

    def _tick(self) -> None:
        self.now += 1
        self._measure_lag()
        due = self._callbacks.get(self.now)
        while due:  # A callback may cancel others of this tick.
            callback = due.pop()
            try:
                callback()
            except Exception:  # noqa: BLE001 - an error of one connection must not affect others
                self._log.failure("a timeout callback failed")
        self._callbacks.pop(self.now, None)

    def _measure_lag(self) -> None:
        now = self._clock.seconds()
        self._meter.lags.append(max(now - self._next_tick_at, 0.0))
        # The next tick is at a whole second: LoopingCall skips the ticks that the reactor missed.
        elapsed = now - self._started_at
        self._next_tick_at = self._started_at + math.floor(elapsed + _PRECISION) + 1
