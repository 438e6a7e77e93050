"""One timer for everything that is waited for."""

from functools import partial

import pytest
from twisted.internet.task import Clock

from reverb.meter import Meter
from reverb.transport.timing_wheel import TimingWheel


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timing_wheel(clock):
    timing_wheel = TimingWheel(clock)
    timing_wheel.start()
    yield timing_wheel
    timing_wheel.stop()
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
    timing_wheel = TimingWheel(clock)
    clock.advance(began)  # A service is started some time after it is built.
    timing_wheel.start()
    clock.advance(3 + phase)
    look, now = Look(clock), clock.seconds()
    timing_wheel.schedule(seconds, look)
    for _ in range(200):
        clock.advance(0.05)
    (at,) = look.calls
    assert now + seconds - 0.06 <= at <= now + seconds + 1.06
    timing_wheel.stop()


def test_now_is_the_latest_whole_second(clock, timing_wheel):
    clock.advance(1)
    clock.advance(0.9)
    assert timing_wheel.now == 1
    clock.advance(0.1)
    assert timing_wheel.now == 2


def test_a_stall_of_the_reactor_does_not_count(clock, timing_wheel):
    """What arrived during the stall must be read before anybody is called silent."""
    look = Look(clock)
    timing_wheel.schedule(5, look)
    clock.advance(20)
    assert timing_wheel.now == 1
    assert look.calls == []
    clock.pump([1] * 5)
    assert look.calls == [25]
    assert len(timing_wheel) == 0


def test_what_is_cancelled_is_not_called(clock, timing_wheel):
    look, other = Look(clock), Look(clock)
    due = timing_wheel.schedule(2, look)
    timing_wheel.schedule(2, other)
    timing_wheel.cancel(due, look)
    assert len(timing_wheel) == 1
    clock.pump([1] * 5)
    assert look.calls == []
    assert len(other.calls) == 1


def test_cancelling_what_is_over_is_harmless(clock, timing_wheel):
    look = Look(clock)
    due = timing_wheel.schedule(1, look)
    clock.pump([1] * 3)
    timing_wheel.cancel(due, look)
    timing_wheel.cancel(due, look)
    timing_wheel.cancel(99, look)
    assert len(look.calls) == 1


def test_a_failing_look_does_not_stop_the_others(clock, timing_wheel, log):
    def fail():
        raise RuntimeError("no")

    looks = [Look(clock) for _ in range(20)]
    for i, look in enumerate(looks):
        timing_wheel.schedule(1, look)
        timing_wheel.schedule(1, [fail, partial(fail)][i % 2])
    clock.pump([1] * 3)
    assert [len(look.calls) for look in looks] == [1] * 20
    assert log.problems()
    again = Look(clock)
    timing_wheel.schedule(1, again)
    clock.pump([1] * 3)
    assert len(again.calls) == 1


def test_a_look_may_file_and_cancel_others(clock, timing_wheel):
    calls = []

    def second():
        calls.append("second")

    def first():
        calls.append("first")
        timing_wheel.schedule(0, second)
        timing_wheel.cancel(never_due, never)

    def never():
        calls.append("never")

    timing_wheel.schedule(1, first)
    never_due = timing_wheel.schedule(2, never)
    clock.pump([1] * 5)
    assert calls == ["first", "second"]


def test_what_is_filed_is_forgotten_at_the_stop(clock):
    timing_wheel = TimingWheel(clock)
    timing_wheel.start()
    look = Look(clock)
    timing_wheel.schedule(1, look)
    timing_wheel.stop()
    timing_wheel.stop()
    clock.pump([1] * 5)
    assert look.calls == []
    assert len(timing_wheel) == 0


class TestLag:
    """How late the ticks come."""

    @pytest.fixture
    def meter(self):
        return Meter()

    @pytest.fixture
    def measured(self, clock, meter):
        clock.advance(0.3)  # A service is started some time after it is built.
        timing_wheel = TimingWheel(clock, meter)
        timing_wheel.start()
        yield timing_wheel
        timing_wheel.stop()

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

    def test_nothing_is_measured_without_a_meter(self, clock, timing_wheel):
        clock.advance(1.5)
        assert timing_wheel.now == 1
