"""Lines that strangers cause are counted, and only the first ones of a window are logged."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.throttled_log import MAX_KEYS, MAX_LINES, WINDOW, FailureLog, LineKey, ThrottledLog
from tests.support.log import Log

KEY = LineKey("refused", "app", "192.0.2.1")


class Throttled:
    """A throttled log with its clock, and the lines that it has written."""

    def __init__(self):
        self.clock = Clock()
        self.throttle = ThrottledLog(self.clock)
        self.log = Log()
        self.logger = Logger(namespace="test", observer=self.log)

    def line(self, text, key=KEY, times=1, **more):
        for _ in range(times):
            self.throttle.info(self.logger, key, "line {text}", text=text, **more)

    def take(self):
        lines = self.log.lines("")
        self.log.events.clear()
        return lines


@pytest.fixture
def log():
    return Throttled()


def suppressed(count, key=KEY, seconds=WINDOW):
    kind, app, address = key
    return f"suppressed {count} lines in {seconds} s: {kind} app={app} peer={address}"


def test_a_window_has_one_line_and_then_one_with_the_count(log):
    log.line("a", times=100)
    assert log.take() == ["line a"]
    log.clock.advance(WINDOW)
    assert log.take() == [suppressed(99)]
    log.line("b")
    assert log.take() == ["line b"]


def test_a_window_without_suppressed_lines_ends_silently(log):
    log.line("a")
    log.clock.advance(WINDOW)
    assert log.take() == ["line a"]
    assert log.clock.getDelayedCalls() == []


@pytest.mark.parametrize("field", ["kind", "app_id", "address"])
def test_lines_of_another_kind_app_or_address_are_counted_separately(log, field):
    other = KEY._replace(**{field: "other"})
    log.line("a", times=3)
    log.line("b", other, times=2)
    assert log.take() == ["line a", "line b"]
    log.clock.advance(WINDOW)
    assert log.take() == [suppressed(2), suppressed(1, other)]


def test_a_kind_may_have_several_lines_in_a_window(log):
    log.line("a", times=5, lines=3)
    assert log.take() == ["line a"] * 3
    log.clock.advance(WINDOW)
    assert log.take() == [suppressed(2)]


def test_a_flush_ends_the_window(log):
    log.line("a", times=2)
    log.clock.advance(7)
    log.throttle.flush()
    assert log.take() == ["line a", suppressed(1, seconds=7)]
    assert log.clock.getDelayedCalls() == []
    log.throttle.flush()
    assert log.take() == []


def test_the_table_of_keys_is_bounded_and_counts_everything(log):
    for number in range(3 * MAX_KEYS):
        log.line("a", KEY._replace(address=str(number)), times=2)
    assert len(log.take()) <= MAX_LINES
    log.clock.advance(WINDOW)
    lines = log.take()
    assert len(lines) == MAX_KEYS + 1
    assert sum(int(line.split()[1]) for line in lines) + MAX_LINES == 6 * MAX_KEYS
    assert "refused app= peer=other addresses" in lines[-1]


def test_the_lines_of_a_window_are_bounded_however_many_each_key_may_have(log):
    for number in range(MAX_KEYS):
        log.line("a", KEY._replace(address=str(number)), times=5, lines=5)
    assert len(log.take()) == MAX_LINES


class TestFailures:
    """Errors of the server itself."""

    @pytest.fixture
    def failures(self, log):
        return FailureLog(log.logger, log.clock.seconds)

    @staticmethod
    def fail(failures, error, times=1):
        for _ in range(times):
            failures.failure("failed {x}", Failure(error), x=1)

    def test_the_first_ones_of_a_type_have_their_tracebacks(self, failures, log):
        self.fail(failures, KeyError("x"), 50)
        self.fail(failures, ValueError("y"))
        problems = log.log.problems()
        assert [type(failure.value) for _, failure in problems] == [KeyError] * 10 + [ValueError]

    def test_the_next_one_after_a_window_tells_how_many_were_suppressed(self, failures, log):
        self.fail(failures, KeyError("x"), 50)
        log.log.problems()
        log.clock.advance(WINDOW)
        self.fail(failures, KeyError("x"))
        assert [text for text, _ in log.log.problems()] == [
            "suppressed 40 errors of type KeyError: failed {x}",
            "failed 1",
        ]
        log.clock.advance(WINDOW)
        self.fail(failures, KeyError("x"))
        assert [text for text, _ in log.log.problems()] == ["failed 1"]

    def test_the_exception_that_is_being_handled_is_the_default(self, failures, log):
        try:
            raise KeyError("x")
        except KeyError:
            failures.failure("failed")
        ((_, failure),) = log.log.problems()
        assert isinstance(failure.value, KeyError)
