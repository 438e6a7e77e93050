"""A node starts and stops, and says in which phase it is."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.lifecycle import STOP_STAGE_TIMEOUT, Lifecycle, run_stage


@pytest.fixture
def lifecycle():
    return Lifecycle()


def run_through(lifecycle):
    """Pass through a start and a stop; yield after each step."""
    for step in ("bind", "start", "finish_start", "stop", "finish_stop"):
        getattr(lifecycle, step)()
        yield step


def test_each_phase_says_why_the_node_is_not_ready(lifecycle):
    assert lifecycle.unavailable_reason == "the node has not been started"
    for _ in range(2):
        assert [lifecycle.unavailable_reason for _ in run_through(lifecycle)] == [
            "the node is starting",
            "the node is starting",
            None,
            "the node is stopping",
            "the node has stopped",
        ]


def test_it_starts_again_only_after_its_stop(lifecycle):
    refused = []
    for step in run_through(lifecycle):
        if step in {"start", "finish_start", "stop"}:
            with pytest.raises(RuntimeError) as caught:
                lifecycle.bind()
            refused.append(str(caught.value).partition(";")[0])
    lifecycle.bind()

    assert refused == ["the node is starting", "the node is running", "the node is stopping"]


def test_a_port_that_could_not_be_bound_may_be_tried_again(lifecycle):
    assert not lifecycle.is_bound
    lifecycle.bind()
    lifecycle.bind()
    assert lifecycle.is_bound


def test_a_start_that_ends_during_the_stop_changes_nothing(lifecycle):
    lifecycle.bind()
    lifecycle.start()
    lifecycle.stop()
    lifecycle.finish_start()

    assert lifecycle.unavailable_reason == "the node is stopping"


def test_everybody_who_waits_learns_of_the_one_stop(lifecycle):
    lifecycle.bind()
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


def test_there_is_nothing_to_stop_before_the_first_start(lifecycle):
    assert not lifecycle.stop()
    assert lifecycle.stopped().called
    assert lifecycle.unavailable_reason == "the node has stopped"


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
