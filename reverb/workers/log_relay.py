"""A worker's log, which the parent writes as its own.

A worker writes each event as a line of JSON to its standard output. The parent makes an event of
it again, so that it is in the parent's log, whatever form that has, whole and with the worker's
number.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from twisted.logger import ILogObserver, LogEvent, LogLevel

_NAMESPACE = "reverb.workers"
_LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class _Traceback:
    """A failure of another process, of which there is but the text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def getTraceback(self, *_: object, **__: object) -> str:
        """Get the text, as observers ask a failure for it."""
        return self._text


class LogRelay:
    """Takes what one worker writes, and logs its lines.

    Args:
        number: The worker's.
        observer: Gets the events.
        now: The wall clock, in seconds since the epoch, for what has no time.
    """

    def __init__(self, number: int, observer: ILogObserver, now: Callable[[], float]) -> None:
        self._number = number
        self._observer = observer
        self._now = now
        self._rest = b""

    def received(self, data: bytes) -> None:
        """Take some bytes; whole lines are logged."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line)

    def ended(self) -> None:
        """Log what stands there without an end of line."""
        if self._rest:
            self._log(self._rest)
        self._rest = b""

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        try:
            event = _event(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
            # Not of the log: what Python itself writes when it cannot start, or dies.
            event = _plain(text, self._now())
        event["worker"] = self._number
        event["log_format"] = f"[worker {self._number}] {event['log_format']}"
        self._observer(event)


def _event(fields: dict[str, Any]) -> LogEvent:
    event: LogEvent = {
        "log_time": datetime.fromisoformat(fields.pop("time")).timestamp(),
        "log_level": _LEVELS[fields.pop("level")],
        "log_namespace": fields.pop("namespace"),
        # It is the text already, and no format.
        "log_format": _literal(str(fields.pop("message"))),
    }
    if "traceback" in fields:
        event["log_failure"] = _Traceback(fields.pop("traceback"))
    return fields | event


def _plain(text: str, now: float) -> LogEvent:
    return {
        "log_time": now,
        "log_level": LogLevel.warn,
        "log_namespace": _NAMESPACE,
        "log_format": _literal(text),
    }


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
