"""Logs at a bounded rate, for log lines that any client can cause."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

WINDOW = 60
"""The length of a window in seconds. A window begins with the first line after the previous
window."""
MAX_KEYS = 1_000
"""The most keys whose lines are counted separately within one window."""
MAX_LINES = 1_000
"""The most lines, of all keys together, that are logged within one window."""
MAX_FAILURES = 10
"""The most errors of one kind that are logged with their tracebacks within one window."""
OTHERS = "other addresses"
"""The address in the key of all lines whose own key exceeds ``MAX_KEYS``."""


class LineKey(NamedTuple):
    """Identifies the log lines that :class:`ThrottledLog` counts together."""

    kind: str
    """A few words that say what happened. The code must use a small number of kinds."""
    app_id: str = ""
    """The id of the app; empty if the app is unknown."""
    address: str = ""
    """The client's address, or the IPv6 network that counts as one client; empty if unknown."""


class _Entry:
    """The counters of the log lines with one key, within a window."""

    __slots__ = ("count", "log", "suppressed")

    def __init__(self, log: Logger) -> None:
        self.log = log
        self.count = 0
        self.suppressed = 0


class ThrottledLog:
    """Logs only the first lines with each :class:`LineKey` in a window, at level info.

    At the end of a window, one line for each key says how many lines with that key were suppressed.

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
        """Log a line, or suppress and count it.

        Args:
            log: The logger of the module that logs.
            key: The key of the line.
            line: The format string of the line.
            lines: The most lines with ``key`` that are logged within one window.
            **fields: The fields of the log event, which the format string names.
        """
        entry = self._find_entry(log, key)
        if entry.count <= lines and self._lines < MAX_LINES:
            self._lines += 1
            log.info(line, **fields)
        else:
            entry.suppressed += 1

    def flush(self) -> None:
        """End the window now, and log how many lines were suppressed in it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._end_window()

    def _find_entry(self, log: Logger, key: LineKey) -> _Entry:
        """Count a line with a key, and return the counters of the key.

        If there are ``MAX_KEYS`` other keys already, count the line with the address ``OTHERS``.
        """
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
    """Logs errors with their tracebacks, and suppresses most of the errors that repeat.

    Two errors are of one kind if they have the same format string and the same exception type. When
    an error begins a new window, a line says how many errors of the same kind were suppressed in
    the previous window.

    Args:
        log: The logger of the module that logs the errors.
        now: A monotonic clock, in seconds.
    """

    def __init__(self, log: Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._windows: dict[tuple[str, type], _FailureWindow] = {}

    def failure(self, line: str, failure: Failure | None = None, **fields: Any) -> None:
        """Log an error, or suppress and count it.

        Args:
            line: The format string of the line. The code must use a small number of format strings.
            failure: The error; None for the exception that is being handled.
            **fields: The fields of the log event, which the format string names.
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
    """The number of errors of one kind within a window."""

    __slots__ = ("count", "started_at")

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.count = 0
