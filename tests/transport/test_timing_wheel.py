"""The timing wheel: delays, cancellation, errors, stalls, and the measured lag."""

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
    timing_wheel = TimingWheel(clock, Meter())
    timing_wheel.start()
    yield timing_wheel
    timing_wheel.stop()
    assert clock.getDelayedCalls() == []


class Callback:
    """Records the times at which it is called."""

    def __init__(self, clock):
        self.clock = clock
        self.calls = []

    def __call__(self):
        self.calls.append(self.clock.seconds())


@pytest.mark.parametrize("seconds", [1, 2, 7])
@pytest.mark.parametrize("phase", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("start_delay", [0.0, 0.25, 0.9])
def test_a_call_is_made_up_to_one_second_after_the_delay(clock, seconds, phase, start_delay):
    timing_wheel = TimingWheel(clock, Meter())
    clock.advance(start_delay)  # A service starts some time after it is built.
    timing_wheel.start()
    clock.advance(3 + phase)
    callback, now = Callback(clock), clock.seconds()
    timing_wheel.schedule(seconds, callback)
    for _ in range(200):
        clock.advance(0.05)
    (at,) = callback.calls
    assert now + seconds - 0.06 <= at <= now + seconds + 1.06
    timing_wheel.stop()


def test_now_is_the_latest_whole_second(clock, timing_wheel):
    clock.advance(1)
    clock.advance(0.9)
    assert timing_wheel.now == 1
    clock.advance(0.1)
    assert timing_wheel.now == 2


def test_a_stall_of_the_reactor_does_not_count(clock, timing_wheel):
    """Bytes that arrived during a stall must be read before a client is considered silent."""
    callback = Callback(clock)
    timing_wheel.schedule(5, callback)
    clock.advance(20)
    assert timing_wheel.now == 1
    assert callback.calls == []
    clock.pump([1] * 5)
    assert callback.calls == [25]
    assert len(timing_wheel) == 0


def test_a_canceled_callback_is_not_called(clock, timing_wheel):
    callback, other = Callback(clock), Callback(clock)
    due = timing_wheel.schedule(2, callback)
    timing_wheel.schedule(2, other)
    timing_wheel.cancel(due, callback)
    assert len(timing_wheel) == 1
    clock.pump([1] * 5)
    assert callback.calls == []
    assert len(other.calls) == 1


def test_canceling_a_past_or_unknown_callback_does_nothing(clock, timing_wheel):
    callback = Callback(clock)
    due = timing_wheel.schedule(1, callback)
    clock.pump([1] * 3)
    timing_wheel.cancel(due, callback)
    timing_wheel.cancel(due, callback)
    timing_wheel.cancel(99, callback)
    assert len(callback.calls) == 1


def test_a_failing_callback_does_not_affect_the_others(clock, timing_wheel, log):
    def fail():
        raise RuntimeError("no")

    callbacks = [Callback(clock) for _ in range(20)]
    for i, callback in enumerate(callbacks):
        timing_wheel.schedule(1, callback)
        timing_wheel.schedule(1, [fail, partial(fail)][i % 2])
    clock.pump([1] * 3)
    assert [len(callback.calls) for callback in callbacks] == [1] * 20
    assert log.problems()
    again = Callback(clock)
    timing_wheel.schedule(1, again)
    clock.pump([1] * 3)
    assert len(again.calls) == 1


def test_a_callback_may_schedule_and_cancel_others(clock, timing_wheel):
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


def test_stop_cancels_all_callbacks(clock):
    timing_wheel = TimingWheel(clock, Meter())
    timing_wheel.start()
    callback = Callback(clock)
    timing_wheel.schedule(1, callback)
    timing_wheel.stop()
    timing_wheel.stop()
    clock.pump([1] * 5)
    assert callback.calls == []
    assert len(timing_wheel) == 0


def test_a_callback_can_cancel_another_one_of_the_same_tick(clock, timing_wheel):
    called = []

    def one():
        called.append("one")
        timing_wheel.cancel(due, other)

    def other():
        called.append("other")
        timing_wheel.cancel(due, one)

    due = timing_wheel.schedule(1, one)
    assert timing_wheel.schedule(1, other) == due
    clock.pump([1, 1, 1])

    assert len(called) == 1
    assert len(timing_wheel) == 0


class TestLag:
    """The delay of the ticks."""

    @pytest.fixture
    def meter(self):
        return Meter()

    @pytest.fixture
    def measured(self, clock, meter):
        clock.advance(0.3)  # A service starts some time after it is built.
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
    def test_it_is_the_delay_of_a_tick(self, clock, meter, measured, steps, lags):
        for step in steps:
            clock.advance(step)
        assert list(meter.lags) == pytest.approx(lags)

    def test_a_restart_resets_the_measurement(self, clock, meter, measured):
        measured.stop()
        clock.advance(7.5)
        measured.start()
        clock.advance(1)
        assert list(meter.lags) == pytest.approx([0])

    def test_nothing_is_measured_without_a_meter(self, clock, timing_wheel):
        clock.advance(1.5)
        assert timing_wheel.now == 1
