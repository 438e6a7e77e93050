"""A node starts once and stops once, and says in which phase it is."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.lifecycle import STOP_STAGE_TIMEOUT, Lifecycle, run_stage


@pytest.fixture
def lifecycle():
    return Lifecycle()


def test_each_phase_says_why_the_node_is_not_ready(lifecycle):
    reasons = [lifecycle.unavailable_reason]
    for step in (lifecycle.start, lifecycle.finish_start, lifecycle.stop, lifecycle.finish_stop):
        step()
        reasons.append(lifecycle.unavailable_reason)

    assert reasons == [
        "the node has not been started",
        "the node is starting",
        None,
        "the node is stopping",
        "the node has stopped",
    ]


def test_a_start_that_ends_during_the_stop_changes_nothing(lifecycle):
    lifecycle.start()
    lifecycle.stop()
    lifecycle.finish_start()

    assert lifecycle.unavailable_reason == "the node is stopping"


def test_it_starts_only_once(lifecycle):
    lifecycle.require_new()
    for step in (lifecycle.start, lifecycle.finish_start, lifecycle.stop, lifecycle.finish_stop):
        step()
        with pytest.raises(RuntimeError, match="starts only once"):
            lifecycle.start()
        with pytest.raises(RuntimeError, match="starts only once"):
            lifecycle.require_new()


def test_everybody_who_waits_learns_of_the_one_stop(lifecycle):
    early = lifecycle.stopped()
    assert lifecycle.stop()
    assert not lifecycle.stop()
    late = lifecycle.stopped()
    assert not early.called
    lifecycle.finish_stop()

    assert not lifecycle.stop()
    assert early.called
    assert late.called
    assert lifecycle.stopped().called


class TestStages:
    @pytest.fixture
    def clock(self):
        return Clock()

    def run(self, clock, stop):
        return Deferred.fromCoroutine(run_stage(clock, "the part", stop))

    def test_a_stage_waits_until_its_part_has_stopped(self, clock, log):
        part = Deferred()
        done = self.run(clock, lambda: part)
        assert not done.called
        part.callback(None)

        assert done.called
        assert clock.getDelayedCalls() == []

    def test_a_part_that_does_not_stop_is_given_up(self, clock, log):
        done = self.run(clock, Deferred)
        clock.advance(STOP_STAGE_TIMEOUT)

        assert done.called
        assert log.lines("stopping: gave up on the part after 5 s")

    def test_a_part_that_fails_to_stop_is_logged(self, clock, log):
        assert self.run(clock, lambda: 1 / 0).called
        assert [text for text, _ in log.problems()] == ["could not stop the part"]
