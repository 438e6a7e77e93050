"""Heartbeats: a worker sends one each second, and the supervisor counts the missing ones."""

import os
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall

HEARTBEAT_INTERVAL = 1.0
"""Seconds between two heartbeats, and between two checks by the supervisor."""
MAX_MISSED_HEARTBEATS = 30
"""A worker counts as hung after this many consecutive checks (one a second) without a heartbeat."""


def start_heartbeat(reactor: Any, descriptor: int) -> None:
    """Send a heartbeat each second for as long as the reactor runs.

    Args:
        reactor: The worker's reactor.
        descriptor: The write end of a pipe to the supervisor that carries only heartbeats.
    """
    os.set_blocking(descriptor, False)

    def beat() -> None:
        # The pipe is full while the supervisor is suspended, which then counts nothing. The pipe
        # is broken after the supervisor has died, which _SupervisorWatch detects.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(descriptor, b".")

    heartbeat = LoopingCall(beat)
    heartbeat.clock = reactor
    # The reactor sends the first one, because a heartbeat shows that the reactor runs.
    reactor.callLater(0, heartbeat.start, HEARTBEAT_INTERVAL)


class Watchdog:
    """Detects a hung worker, which is one that has missed too many heartbeats.

    The watchdog counts the supervisor's checks without a heartbeat; it measures no time. So no
    heartbeat counts as missed while the supervisor is suspended or the machine sleeps.

    Before its first heartbeat, a worker is starting. A starting worker never counts as hung.

    Args:
        max_missed_heartbeats: A worker counts as hung after this many consecutive checks (one a
            second) without a heartbeat.
    """

    def __init__(self, max_missed_heartbeats: int) -> None:
        self._max_missed = max_missed_heartbeats
        self._missed: int | None = None

    def record_heartbeat(self) -> None:
        """Record a heartbeat, and reset the number of missed heartbeats to 0."""
        self._missed = 0

    def check_heartbeat(self) -> bool:
        """Count one check by the supervisor.

        Returns:
            True only for the check at which the number of missed heartbeats reaches the maximum.
        """
        if self._missed is None:
            return False
        self._missed += 1
        return self._missed == self._max_missed
