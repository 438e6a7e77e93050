"""Heartbeats: a worker sends one each second, and the supervisor counts the missed ones."""

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
        # Either the supervisor is stopped and counts nothing, or it has died, which the watch
        # on standard input detects.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(descriptor, b".")

    heartbeat = LoopingCall(beat)
    heartbeat.clock = reactor
    # Send the first one from the reactor, as heartbeats show that the reactor runs.
    reactor.callLater(0, heartbeat.start, HEARTBEAT_INTERVAL)


class Watchdog:
    """Detects when one process has missed too many heartbeats.

    It counts the supervisor's checks and not the time between them: while the supervisor is
    stopped or the machine sleeps, no heartbeat counts as missed.

    A process that has not sent its first heartbeat is still starting. Starting has no time limit.

    Args:
        max_missed_heartbeats: A worker counts as hung after this many consecutive checks (one a
            second) without a heartbeat.
    """

    def __init__(self, max_missed_heartbeats: int) -> None:
        self._max_missed = max_missed_heartbeats
        self._missed: int | None = None

    def record_heartbeat(self) -> None:
        """Record a heartbeat."""
        self._missed = 0

    def check_heartbeat(self) -> bool:
        """Count one check. A heartbeat resets the count.

        Returns:
            Whether this check finds that the process hangs. Later checks return False.
        """
        if self._missed is None:
            return False
        self._missed += 1
        return self._missed == self._max_missed
