"""Signs of life: a worker gives one each second, and its parent counts the seconds without."""

import os
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall

INTERVAL = 1.0
"""Seconds from one sign to the next, and from one look at whether there was one to the next."""
PATIENCE = 30
"""Looks without a sign after which a worker hangs."""


def start_beating(reactor: Any, descriptor: int) -> None:
    """Give a sign of life each second for as long as the reactor turns.

    Args:
        reactor: The worker's.
        descriptor: A pipe to the parent, for nothing else.
    """
    os.set_blocking(descriptor, False)

    def beat() -> None:
        # The parent does not read now, and counts nothing either; or it is gone, which is
        # noticed elsewhere.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(descriptor, b".")

    beating = LoopingCall(beat)
    beating.clock = reactor
    # Not now: it is the reactor that the sign is of.
    reactor.callLater(0, beating.start, INTERVAL)


class Watchdog:
    """Tells when one process has given no sign of life for too long.

    What counts are looks of the parent, not the time between them: when the parent has been
    stopped or the machine has slept, its workers have too.

    A process that has not given its first sign is starting, which takes as long as it takes.

    Args:
        patience: Looks without a sign after which it hangs.
    """

    def __init__(self, max_missed_heartbeats: int) -> None:
        self._patience = max_missed_heartbeats
        self._silent: int | None = None

    def alive(self) -> None:
        """Take a sign of life."""
        self._silent = 0

    def look(self) -> bool:
        """Look once more.

        Returns:
            Whether the process hangs; that is told once.
        """
        if self._silent is None:
            return False
        self._silent += 1
        return self._silent == self._patience
