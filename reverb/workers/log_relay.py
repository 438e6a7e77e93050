"""Relays a worker's log into the supervisor's log.

A worker writes each log event as a line of JSON to its standard output. The supervisor turns each
line back into an event, and adds the worker's number. So the observers of the supervisor's log can
write the event in any format.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from twisted.logger import ILogObserver, LogEvent, LogLevel

_NAMESPACE = "reverb.workers"
_LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class _Traceback:
    """The failure in a log event of a worker, which sends only the text of the traceback."""

    def __init__(self, text: str) -> None:
        self._text = text

    def getTraceback(self, *_: object, **__: object) -> str:
        """Return the traceback's text. Log observers call this method to describe a failure."""
        return self._text


class LogRelay:
    """Parses one output stream of a worker, and logs each line of the stream.

    Args:
        number: The worker's number.
        observer: Called with each log event.
        now: Returns the wall clock's time in seconds since 1970, for lines that contain no time.
    """

    def __init__(self, number: int, observer: ILogObserver, now: Callable[[], float]) -> None:
        self._number = number
        self._observer = observer
        self._now = now
        self._incomplete_line = b""

    def received(self, data: bytes) -> None:
        """Log each complete line, and keep an incomplete last line for the next call."""
        *lines, self._incomplete_line = (self._incomplete_line + data).split(b"\n")
        for line in lines:
            self._log(line)

    def finish(self) -> None:
        """Log the last line if it does not end with a newline."""
        if self._incomplete_line:
            self._log(self._incomplete_line)
        self._incomplete_line = b""

    def _log(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        try:
            event = _parse_event(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
            # The line is not an event: Python itself wrote it, for example when it crashed.
            event = _make_text_event(text, self._now())
        event["worker"] = self._number
        event["log_format"] = f"[worker {self._number}] {event['log_format']}"
        self._observer(event)


def _parse_event(fields: dict[str, Any]) -> LogEvent:
    event: LogEvent = {
        "log_time": datetime.fromisoformat(fields.pop("time")).timestamp(),
        "log_level": _LEVELS[fields.pop("level")],
        "log_namespace": fields.pop("namespace"),
        # The message is already formatted, so it must not be formatted again.
        "log_format": _escape_format(str(fields.pop("message"))),
    }
    if "traceback" in fields:
        event["log_failure"] = _Traceback(fields.pop("traceback"))
    return fields | event


def _make_text_event(text: str, now: float) -> LogEvent:
    return {
        "log_time": now,
        "log_level": LogLevel.warn,
        "log_namespace": _NAMESPACE,
        "log_format": _escape_format(text),
    }


def _escape_format(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
