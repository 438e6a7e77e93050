"""Logs lines that strangers can cause, at a bounded rate."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

WINDOW = 60
"""Seconds of a window. It begins with its first line, and ends with the lines that have counts."""
MAX_KEYS = 1_000
"""The number of keys that are counted separately within one window."""
MAX_LINES = 1_000
"""The number of lines that one window logs in full."""
MAX_FAILURES = 10
"""The number of errors of one kind that one window logs with their tracebacks."""
OTHERS = "other addresses"
"""The address of the keys that had no room in the table."""


class LineKey(NamedTuple):
    """What lines have in common that are counted together."""

    kind: str
    """What happened, in a few words. There must be a small number of kinds."""
    app_id: str = ""
    """The app; empty if it is unknown."""
    address: str = ""
    """The address of the client, or the network that counts as one client; empty for none."""


class _Entry:
    """The lines of one key within a window."""

    __slots__ = ("count", "log", "suppressed")

    def __init__(self, log: Logger) -> None:
        self.log = log
        self.count = 0
        self.suppressed = 0


class ThrottledLog:
    """Logs the first lines of each key in a window at level info, and counts the others.

    At the end of a window, one line for each key says how many lines were suppressed.

    Args:
        clock: The reactor, or a test's clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entries: dict[LineKey, _Entry] = {}
        self._lines = 0
        self._started_at = 0.0
        self._timer: IDelayedCall | None = None

    def info(self, log: Logger, key: LineKey, line: str, *, lines: int = 1, **fields: Any) -> None:
        """Log a line, or count it.

        Args:
            log: The logger of the module that logs.
            key: The line is counted together with the lines of this key.
            line: The format of the line.
            lines: The number of lines of this key that a window logs in full.
            **fields: The fields of the event.
        """
        entry = self._find_entry(log, key)
        if entry.count <= lines and self._lines < MAX_LINES:
            self._lines += 1
            log.info(line, **fields)
        else:
            entry.suppressed += 1

    def flush(self) -> None:
        """End the window now, and log its counts. The next line begins another window."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._end_window()

    def _find_entry(self, log: Logger, key: LineKey) -> _Entry:
        """Return the entry of a key, or of its kind if the table is full, and count one line."""
        entries = self._entries
        if not entries:
            self._started_at = self._clock.seconds()
            self._timer = self._clock.callLater(WINDOW, self._end_window)
        entry = entries.get(key)
        if entry is None:
            if len(entries) >= MAX_KEYS:
                key = LineKey(key.kind, "", OTHERS)
            entry = entries.setdefault(key, _Entry(log))
        entry.count += 1
        return entry

    def _end_window(self) -> None:
        entries, self._entries = self._entries, {}
        self._lines = 0
        self._timer = None
        for key, entry in entries.items():
            if entry.suppressed:
                entry.log.info(
                    "suppressed {count} lines in {seconds:.0f} s: {kind} app={app_id} peer={peer}",
                    count=entry.suppressed,
                    seconds=self._clock.seconds() - self._started_at,
                    kind=key.kind,
                    app_id=key.app_id,
                    peer=key.address,
                )


class FailureLog:
    """Logs errors of this server with their tracebacks, and counts those that repeat.

    An error counts by its line and its type. The first error after a window says how many of its
    kind were suppressed in the window.

    Args:
        log: The logger of the module that logs.
        now: A monotonic clock, in seconds.
    """

    def __init__(self, log: Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._windows: dict[tuple[str, type], _FailureWindow] = {}

    def failure(self, line: str, failure: Failure | None = None, **fields: Any) -> None:
        """Log an error, or count it.

        Args:
            line: The format of the line. There must be a small number of formats.
            failure: The error; None for the exception that is being handled.
            **fields: The fields of the event.
        """
        failure = Failure() if failure is None else failure
        key = line, type(failure.value)
        now = self._now()
        window = self._windows.get(key)
        if window is None or now - window.started_at >= WINDOW:
            if window is not None and window.count > MAX_FAILURES:
                self._log.error(
                    "suppressed {count} errors of type {kind}: {line}",
                    count=window.count - MAX_FAILURES,
                    kind=key[1].__name__,
                    line=line,
                )
            window = self._windows[key] = _FailureWindow(now)
        window.count += 1
        if window.count <= MAX_FAILURES:
            self._log.failure(line, failure, **fields)


class _FailureWindow:
    """The errors of one kind within a window."""

    __slots__ = ("count", "started_at")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.count = 0
