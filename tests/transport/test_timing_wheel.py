"""One timer for everything that is waited for."""

from functools import partial

import pytest
from twisted.internet.task import Clock

from reverb.meter import Meter
from reverb.transport.timing_wheel import Deadlines


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deadlines(clock):
    deadlines = Deadlines(clock)
    deadlines.start()
    yield deadlines
    deadlines.stop()
    assert clock.getDelayedCalls() == []


class Look:
    def __init__(self, clock):
        self.clock = clock
        self.calls = []

    def __call__(self):
        self.calls.append(self.clock.seconds())


@pytest.mark.parametrize("seconds", [1, 2, 7])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("began", [0.0, 0.25, 0.9])
def test_a_look_is_between_the_seconds_and_one_more_from_now(clock, seconds, phase, began):
    deadlines = Deadlines(clock)
    clock.advance(began)  # A service is started some time after it is built.
    deadlines.start()
    clock.advance(3 + phase)
    look, now = Look(clock), clock.seconds()
    deadlines.file(seconds, look)
    for _ in range(200):
        clock.advance(0.05)
    (at,) = look.calls
    assert now + seconds - 0.06 <= at <= now + seconds + 1.06
    deadlines.stop()


def test_now_is_the_latest_whole_second(clock, deadlines):
    clock.advance(1)
    clock.advance(0.9)
    assert deadlines.now == 1
    clock.advance(0.1)
    assert deadlines.now == 2


def test_a_stall_of_the_reactor_does_not_count(clock, deadlines):
    """What arrived during the stall must be read before anybody is called silent."""
    look = Look(clock)
    deadlines.file(5, look)
    clock.advance(20)
    assert deadlines.now == 1
    assert look.calls == []
    clock.pump([1] * 5)
    assert look.calls == [25]
    assert len(deadlines) == 0


def test_what_is_cancelled_is_not_called(clock, deadlines):
    look, other = Look(clock), Look(clock)
    due = deadlines.file(2, look)
    deadlines.file(2, other)
    deadlines.cancel(due, look)
    assert len(deadlines) == 1
    clock.pump([1] * 5)
    assert look.calls == []
    assert len(other.calls) == 1


def test_cancelling_what_is_over_is_harmless(clock, deadlines):
    look = Look(clock)
    due = deadlines.file(1, look)
    clock.pump([1] * 3)
    deadlines.cancel(due, look)
    deadlines.cancel(due, look)
    deadlines.cancel(99, look)
    assert len(look.calls) == 1


def test_a_failing_look_does_not_stop_the_others(clock, deadlines, log):
    def fail():
        raise RuntimeError("no")

    looks = [Look(clock) for _ in range(20)]
    for i, look in enumerate(looks):
        deadlines.file(1, look)
        deadlines.file(1, [fail, partial(fail)][i % 2])
    clock.pump([1] * 3)
    assert [len(look.calls) for look in looks] == [1] * 20
    assert log.problems()
    again = Look(clock)
    deadlines.file(1, again)
    clock.pump([1] * 3)
    assert len(again.calls) == 1


def test_a_look_may_file_and_cancel_others(clock, deadlines):
    calls = []

    def second():
        calls.append("second")

    def first():
        calls.append("first")
        deadlines.file(0, second)
        deadlines.cancel(never_due, never)

    def never():
        calls.append("never")

    deadlines.file(1, first)
    never_due = deadlines.file(2, never)
    clock.pump([1] * 5)
    assert calls == ["first", "second"]


def test_what_is_filed_is_forgotten_at_the_stop(clock):
    deadlines = Deadlines(clock)
    deadlines.start()
    look = Look(clock)
    deadlines.file(1, look)
    deadlines.stop()
    deadlines.stop()
    clock.pump([1] * 5)
    assert look.calls == []
    assert len(deadlines) == 0


class TestLag:
    """How late the ticks come."""

    @pytest.fixture
    def meter(self):
        return Meter()

    @pytest.fixture
    def measured(self, clock, meter):
        clock.advance(0.3)  # A service is started some time after it is built.
        deadlines = Deadlines(clock, meter)
        deadlines.start()
        yield deadlines
        deadlines.stop()

    @pytest.mark.parametrize(
        ("steps", "lags"),
        [
            ([1, 1, 1], [0, 0, 0]),
            ([0.5, 0.5, 0.25, 0.75], [0, 0]),
            ([1.25, 0.75], [0.25, 0]),
            ([1.25, 1, 1], [0.25, 0.25, 0.25]),
            ([3.5, 0.5, 1], [2.5, 0, 0]),
            ([2, 1], [1, 0]),
        ],
    )
    def test_it_is_the_time_from_when_a_tick_was_due(self, clock, meter, measured, steps, lags):
        for step in steps:
            clock.advance(step)
        assert list(meter.lags) == pytest.approx(lags)

    def test_a_new_start_is_a_new_beginning(self, clock, meter, measured):
        measured.stop()
        clock.advance(7.5)
        measured.start()
        clock.advance(1)
        assert list(meter.lags) == pytest.approx([0])

    def test_nothing_is_measured_without_a_meter(self, clock, deadlines):
        clock.advance(1.5)
        assert deadlines.now == 1
