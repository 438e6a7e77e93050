"""The log observers write each event of at least the chosen level as one line."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from threading import Timer

import pytest
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from reverb import logs

LEVELS = ("debug", "info", "warn", "error", "critical")
NOON = 1_767_268_800.25
"""2026-01-01 12:00:00.250 UTC."""


class Broken:
    """An object that cannot be formatted."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def failure_of(error):
    try:
        raise error
    except type(error):
        return Failure()


def event_of(log_format="Hello {name}", log_level=LogLevel.info, **fields):
    return {
        "log_format": log_format,
        "log_level": log_level,
        "log_namespace": "reverb.test",
        "log_time": NOON,
        **fields,
    }


@pytest.fixture(params=["text", "json"])
def make_observer(request, monkeypatch):
    """Make an observer as twistd does; return it and a function that returns its output."""
    monkeypatch.delenv("REVERB_LOG_LEVEL", raising=False)

    def make(level=None):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        if level is not None:
            monkeypatch.setenv("REVERB_LOG_LEVEL", level)
        return getattr(logs, request.param)(), lambda: stream.buffer.getvalue().decode()

    return make


ODD_EVENTS = {
    "empty": {},
    "no message": {"log_level": LogLevel.info, "log_time": NOON},
    "unformattable": event_of("{thing}", thing=Broken()),
    "broken field": event_of(name="x", thing=Broken()),
    "missing field": event_of("{missing}"),
    "format error": event_of("{"),
    "format is no string": event_of(7),
    "bytes": event_of(b"caf\xc3\xa9 {name}", name=b"\xff"),
    "surrogate": event_of(name="\udcff"),
    "level is no level": event_of(log_level="info", name="x"),
    "time is no time": event_of(name="x", log_time="now"),
    "time out of range": event_of(name="x", log_time=1e300),
    "namespace is none": event_of(name="x", log_namespace=None),
    "failure is no failure": event_of(name="x", log_failure="?"),
    "broken failure": event_of(name="x", log_failure=Failure(ValueError(Broken()))),
    "not finite": event_of(name=float("nan"), infinite=float("inf")),
    "very long number": event_of("Hello", number=10**5000),
    "key is no string": {**event_of(name="x"), 5: 6},
}


class TestBoth:
    def test_twistd_accepts_them(self, make_observer):
        observer, _ = make_observer()

        assert verifyObject(ILogObserver, observer)

    @pytest.mark.parametrize("lowest", LEVELS)
    def test_levels(self, make_observer, lowest):
        observer, written = make_observer(lowest)

        for level in LEVELS:
            observer(event_of("this is {level}", LogLevel.levelWithName(level), level=level))

        seen = [level for level in LEVELS if f"this is {level}" in written()]
        assert seen == list(LEVELS[LEVELS.index(lowest) :])

    @pytest.mark.parametrize("level", [None, "", " ", "INFO", " info "])
    def test_info_and_above_by_default(self, make_observer, level):
        observer, written = make_observer(level)

        observer(event_of("low", LogLevel.debug))
        observer(event_of("high", LogLevel.info))

        assert "high" in written()
        assert "low" not in written()

    def test_a_wrong_level(self, make_observer):
        with pytest.raises(SystemExit) as caught:
            make_observer("verbose")

        assert caught.value.code == (
            "reverb: REVERB_LOG_LEVEL: expected one of debug, info, warn, error, critical, "
            "got 'verbose'"
        )

    @pytest.mark.parametrize("event", ODD_EVENTS.values(), ids=ODD_EVENTS)
    def test_odd_events_raise_no_exception(self, make_observer, event):
        observer, written = make_observer()

        observer(dict(event))
        observer(event_of(name="again"))

        assert "Hello again" in written()

    def test_characters_that_the_terminal_cannot_encode_are_escaped(self, monkeypatch):
        stream = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)

        logs.text()(event_of(name="café"))

        assert stream.buffer.getvalue().endswith(b"Hello caf\\xe9\n")


class TestText:
    def test_a_line(self):
        line = logs.format_text(event_of(name="you"))

        assert line.endswith(" [reverb.test#info] Hello you\n")

    def test_more_lines_are_indented(self):
        assert logs.format_text(event_of("one\ntwo")).endswith("one\n\ttwo\n")

    def test_a_failure(self):
        text = logs.format_text(event_of(name="you", log_failure=failure_of(KeyError("lost"))))

        assert "Hello you\n\tTraceback" in text
        assert "KeyError: 'lost'" in text


class TestJson:
    def parsed(self, event):
        line = logs.format_json(event)
        assert line.endswith("\n")
        assert line.count("\n") == 1
        return json.loads(line, parse_constant=pytest.fail)

    def test_an_event(self):
        assert self.parsed(event_of(name="you")) == {
            "time": "2026-01-01T12:00:00.250Z",
            "level": "info",
            "namespace": "reverb.test",
            "message": "Hello you",
            "name": "you",
        }

    def test_simple_fields_only(self):
        fields = {"text": "é\n", "whole": 1, "real": 0.5, "truth": True, "none": None, "list": [1]}

        event = self.parsed(event_of("Hello", **fields, thing=object(), nan=float("nan")))

        kept = {"text": "é\n", "whole": 1, "real": 0.5, "truth": True}
        assert {name: event[name] for name in event.keys() & {*fields, "thing", "nan"}} == kept

    def test_an_event_cannot_replace_the_standard_fields(self):
        event = self.parsed(event_of("Hello", time=1, level="x", namespace="y", message="z"))

        assert event == self.parsed(event_of("Hello"))

    def test_a_failure(self):
        event = self.parsed(event_of(name="you", log_failure=failure_of(KeyError("lost"))))

        assert event["message"] == "Hello you"
        assert event["traceback"].startswith("Traceback (most recent call last)")
        assert "KeyError: 'lost'" in event["traceback"]

    def test_a_real_logger(self):
        events = []
        logger = Logger("reverb.test", observer=events.append)

        logger.error("{count} left", count=3)

        event = self.parsed(events[0])
        assert (event["level"], event["message"], event["count"]) == ("error", "3 left", 3)

    @pytest.mark.parametrize("event", ODD_EVENTS.values(), ids=ODD_EVENTS)
    def test_odd_events_are_one_object(self, monkeypatch, event):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)

        logs.json()(dict(event))

        lines = stream.buffer.getvalue().decode().splitlines()
        assert len(lines) == 1
        assert {"time", "level", "namespace", "message"} <= set(json.loads(lines[0]))


class TestTwistd:
    """Real processes."""

    def wait_for_response(self, port):
        # Once the server answers, the reactor runs and handles the signal.
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(1)

    def output_of(self, logger, tmp_path, **variables):
        """Return the lines that a server writes from its start to its end."""
        script = "from twisted.scripts.twistd import run; run()"
        options = ("--nodaemon", "--pidfile=", "--logger", logger, "reverb", "--port=0")
        with subprocess.Popen(
            [sys.executable, "-c", script, *options],
            cwd=tmp_path,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            lines = []
            guard = Timer(30, process.kill)
            guard.start()
            for line in process.stdout:
                lines.append(line)
                if port := re.search(r"listening on \S+:(\d+)", line):
                    self.wait_for_response(int(port[1]))
                    process.send_signal(signal.SIGINT)
            guard.cancel()
        return lines

    def test_json(self, tmp_path):
        lines = self.output_of("reverb.logs.json", tmp_path)

        events = [json.loads(line) for line in lines]
        assert events[0]["message"].startswith("serving at most ")
        assert events[1]["message"].startswith("twistd ")
        assert events[-1]["message"] == "Server Shut Down."
        assert {event["level"] for event in events} == {"info"}

    def test_text(self, tmp_path):
        lines = self.output_of("reverb.logs.text", tmp_path)

        assert lines[-1].endswith(
            "[twisted.scripts._twistd_unix.UnixAppLogger#info] Server Shut Down.\n"
        )
