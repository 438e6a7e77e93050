"""The two clocks of a node: the reactor's clock, and the wall clock."""

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime


class Time(NamedTuple):
    """The reactor's clock and the wall clock of a node; a test may replace both clocks."""

    clock: IReactorTime
    """Schedules calls, and measures durations. The clock's zero has no meaning."""
    now: Callable[[], float]
    """Returns the seconds since 1970. An operator may set this clock, even back."""
