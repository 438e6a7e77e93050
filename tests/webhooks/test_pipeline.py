"""A pipeline is drained: events are routed, batches are sent, deliveries are finished."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.webhooks.pipeline import Pipeline


class Run:
    """A pipeline that is being drained for at most one second."""

    def __init__(self):
        self.clock, self.routed, self.idle = Clock(), Deferred(), Deferred()
        self.dispatcher = Mock(**{"routed.return_value": self.routed})
        self.sender = Mock(**{"idle.return_value": self.idle, "stop.return_value": 3})
        self.pipeline = Pipeline(self.dispatcher, self.sender, self.clock)
        self.drained = Deferred.fromCoroutine(self.pipeline.drain(1))


@pytest.fixture
def run():
    return Run()


def test_batches_are_sent_when_all_events_are_routed(run):
    run.dispatcher.flush.assert_not_called()

    run.routed.callback(None)
    run.dispatcher.flush.assert_called_once_with()
    assert not run.drained.called


def test_it_is_drained_when_all_deliveries_are_finished(run):
    run.routed.callback(None)
    run.clock.advance(0.9)
    run.idle.callback(None)

    assert run.drained.result is True
    assert run.clock.getDelayedCalls() == []


def test_the_wait_is_limited(run):
    run.clock.advance(0.6)
    run.routed.callback(None)
    run.clock.advance(0.4)

    assert run.drained.result is False


def test_batches_are_sent_even_if_routing_takes_too_long(run):
    run.clock.advance(1)

    run.dispatcher.flush.assert_called_once_with()
    run.clock.advance(0)
    assert run.drained.result is False


def test_a_stop_says_how_many_deliveries_stay_pending(run):
    assert run.pipeline.stop() == 3
    run.dispatcher.stop.assert_called_once_with()
