"""Round-robin scheduling of connections that exceed their budget for a turn of the reactor."""

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.throttled_log import FailureLog

_STEPS_PER_TURN = 4


class RoundRobin:
    """Runs steps in the order in which they were added, a few in each turn of the reactor.

    A step handles one portion of the data that a connection has sent. If more data is left, the
    connection adds its next step, behind the steps of the other connections. So connections within
    their budget wait for a few steps only, however many connections exceed their budget.

    Args:
        clock: The reactor, or a test's clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._log = FailureLog(Logger())
        self._clock = clock
        self._steps: deque[Callable[[], None]] = deque()

    def add(self, step: Callable[[], None]) -> None:
        """Run a step in a later turn of the reactor.

        Args:
            step: A function that is called once. An exception of the function is logged.
        """
        self._steps.append(step)
        if len(self._steps) == 1:
            self._clock.callLater(0, self._run)

    def _run(self) -> None:
        # A step stays in the queue while it runs, so that add() does not schedule a second call.
        for _ in range(min(len(self._steps), _STEPS_PER_TURN)):
            step = self._steps[0]
            try:
                step()
            except Exception:  # noqa: BLE001 - an error of one connection must not affect others
                self._log.failure("could not handle what a client has sent")
            self._steps.popleft()
        if self._steps:
            self._clock.callLater(0, self._run)
