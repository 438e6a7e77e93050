"""One timer for all connections, however many wait for something.

Each connection is filed under the second at which it has to be looked at next,
so that a tick costs as much as there is to do, not as much as there are
connections.
"""

import math
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.meter import Meter

_PRECISION = 0.001
"""Seconds that are no difference: sums of floating-point numbers are not exact."""


class TimingWheel:
    """Calls functions after whole seconds, with one timer.

    Time counts in ticks, so that it stands still while the reactor does: after
    a stall, clients whose answers lie unread are not taken for silent.

    Args:
        clock: The reactor, or a test's clock.
        meter: That of the node; None to measure nothing.

    Attributes:
        now: The number of ticks, which are seconds: cheap to read on every
            message.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, meter: Meter | None = None) -> None:
        self._clock = clock
        self._meter = meter
        self._began = 0.0
        self._expected = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        self.now = 0
        self._due: dict[int, set[Callable[[], None]]] = {}

    def start(self) -> None:
        """Begin to tick."""
        self._began = self._clock.seconds()
        self._expected = self._began + 1
        self._loop.start(1, now=False)

    def stop(self) -> None:
        """End; what is filed is forgotten."""
        if self._loop.running:
            self._loop.stop()
        self._due.clear()

    def schedule(self, seconds: int, look: Callable[[], None]) -> int:
        """Call ``look`` once, between ``seconds`` and a second more from now.

        Returns:
            What :meth:`cancel` takes.
        """
        # What is left of the second that has begun does not count.
        due = self.now + seconds + 1
        self._due.setdefault(due, set()).add(look)
        return due

    def cancel(self, due: int, look: Callable[[], None]) -> None:
        """Take back what was filed; harmless when it has been called."""
        looks = self._due.get(due)
        if looks is not None:
            looks.discard(look)
            if not looks:
                del self._due[due]

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def _tick(self) -> None:
        self.now += 1
        if self._meter is not None:
            self._measure_lag(self._meter)
        for look in self._due.pop(self.now, ()):
            try:
                look()
            except Exception:  # noqa: BLE001 - one connection's failure is not the others'
                self._log.failure("at a deadline")

    def _measure_lag(self, meter: Meter) -> None:
        now = self._clock.seconds()
        meter.lags.append(max(now - self._expected, 0.0))
        # The next whole second; ticks that the reactor has missed do not come any more.
        self._expected = self._began + math.floor(now - self._began + _PRECISION) + 1
