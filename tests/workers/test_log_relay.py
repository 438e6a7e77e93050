"""The supervisor's log has a worker's events unchanged, with the number of the worker."""

import io
import json

from twisted.logger import Logger, LogLevel, formatEvent

from reverb.logs import LineObserver, format_json, format_text
from reverb.workers.log_relay import LogRelay

LINE = (
    b'{"time": "2026-11-27T10:00:00.250Z", "level": "info", "namespace": "reverb.service",'
    b' "message": "listening on {address} %s", "port": 8080}\n'
)


class Relayed:
    """A log relay for worker 2, and the events that it logs."""

    def __init__(self):
        self.events = []
        self.relay = LogRelay(2, self.events.append, lambda: 7.0)

    def messages(self):
        return [formatEvent(event) for event in self.events]


def events_of(*parts):
    relayed = Relayed()
    for part in parts:
        relayed.relay.received(part)
    return relayed.events


def test_an_event_keeps_its_fields():
    (event,) = events_of(LINE)

    assert formatEvent(event) == "[worker 2] listening on {address} %s"
    assert event["log_level"] is LogLevel.info
    assert event["log_namespace"] == "reverb.service"
    assert event["log_time"] == 1795773600.25
    assert (event["worker"], event["port"]) == (2, 8080)


def test_a_line_is_logged_once_it_is_complete():
    relayed = Relayed()
    for byte in LINE + LINE[:-1]:
        relayed.relay.received(bytes([byte]))
    assert len(relayed.events) == 1

    relayed.relay.finish()

    assert len(relayed.events) == 2
    relayed.relay.finish()
    assert len(relayed.events) == 2


def test_a_line_that_is_no_log_event_is_a_warning():
    lines = [b"Traceback {x}", b"\xff", b"7", b"[]", b"{}", b'{"time": 1}', b""]
    events = events_of(b"\n".join(lines) + b"\n")

    assert [formatEvent(event) for event in events] == [
        "[worker 2] Traceback {x}",
        "[worker 2] \\xff",
        "[worker 2] 7",
        "[worker 2] []",
        "[worker 2] {}",
        '[worker 2] {"time": 1}',
        "[worker 2] ",
    ]
    assert {event["log_level"] for event in events} == {LogLevel.warn}
    assert {event["log_time"] for event in events} == {7.0}


def relay_failure(format_event):
    """Return a failure that a worker logged, as the supervisor writes it."""
    relayed, sent = Relayed(), io.StringIO()
    log = Logger("reverb.hub", observer=LineObserver(sent, "debug", format_json))
    try:
        raise ValueError("odd")
    except ValueError:
        log.failure("while {doing}", doing="this")
    relayed.relay.received(sent.getvalue().encode())
    written = io.StringIO()
    for event in relayed.events:
        LineObserver(written, "debug", format_event)(event)
    return written.getvalue()


def test_a_failure_is_written_as_text_with_its_traceback():
    text = relay_failure(format_text)

    first, *rest = text.splitlines()
    assert first.endswith("[reverb.hub#critical] [worker 2] while this")
    assert any("ValueError: odd" in line for line in rest)
    assert all(line.startswith("\t") for line in rest)


def test_a_failure_is_written_as_json_with_its_traceback():
    event = json.loads(relay_failure(format_json))

    assert event["message"] == "[worker 2] while this"
    assert (event["level"], event["namespace"]) == ("critical", "reverb.hub")
    assert (event["worker"], event["doing"]) == (2, "this")
    assert "ValueError: odd" in event["traceback"]
