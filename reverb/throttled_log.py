"""Logs lines that strangers can cause, at a bounded rate."""

from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

WINDOW = 60
"""Seconds of a window. It begins with its first line, and ends with the lines that have counts."""
MAX_KEYS = 1_000
"""The number of keys that are counted separately within one window."""
MAX_LINES = 1_000
"""The number of lines that one window logs in full, not including failures."""
_FAILURES = 10
"""The number of failures of one kind that one window logs in full."""
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

    __slots__ = ("count", "level", "log", "suppressed")

    def __init__(self, log: Logger, level: Any) -> None:
        self.log = log
        self.level = level
        self.count = 0
        self.suppressed = 0


class ThrottledLog:
    """Logs the first lines of each key in a window, and counts the others.

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
        """Log a line at level info, or count it.

        Args:
            log: The logger of the module that logs.
            key: The line is counted together with the lines of this key.
            line: The format of the line.
            lines: The number of lines of this key that a window logs in full.
            **fields: The fields of the event.
        """
        entry = self._find_entry(log, key, LogLevel.info)
        if entry.count <= lines and self._lines < MAX_LINES:
            self._lines += 1
            log.info(line, **fields)
        else:
            entry.suppressed += 1

    def failure(self, log: Logger, line: str, failure: Failure, **fields: Any) -> None:
        """Log an error of this server with its traceback, or count it.

        Errors are counted by line and by type. Strangers who cause lines of other kinds do not
        suppress them.

        Args:
            log: The logger of the module that logs.
            line: The format of the line. It is a part of the key.
            failure: The error.
            **fields: The fields of the event.
        """
        kind = f"{line.partition('{')[0].strip()}: {type(failure.value).__name__}"
        entry = self._find_entry(log, LineKey(kind), LogLevel.critical)
        if entry.count <= _FAILURES:
            log.failure(line, failure, **fields)
        else:
            entry.suppressed += 1

    def flush(self) -> None:
        """End the window now, and log its counts. The next line begins another window."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._end_window()

    def _find_entry(self, log: Logger, key: LineKey, level: Any) -> _Entry:
        """Return the entry of a key, or of its kind if the table is full, and count one line."""
        entries = self._entries
        if not entries:
            self._started_at = self._clock.seconds()
            self._timer = self._clock.callLater(WINDOW, self._end_window)
        entry = entries.get(key)
        if entry is None:
            if len(entries) >= MAX_KEYS:
                key = LineKey(key.kind, "", OTHERS)
            entry = entries.setdefault(key, _Entry(log, level))
        entry.count += 1
        return entry

    def _end_window(self) -> None:
        entries, self._entries = self._entries, {}
        self._lines = 0
        self._timer = None
        for key, entry in entries.items():
            if entry.suppressed:
                entry.log.emit(
                    entry.level,
                    "suppressed {count} lines in {seconds:.0f} s: {kind} app={app_id} peer={peer}",
                    count=entry.suppressed,
                    seconds=self._clock.seconds() - self._started_at,
                    kind=key.kind,
                    app_id=key.app_id,
                    peer=key.address,
                )
