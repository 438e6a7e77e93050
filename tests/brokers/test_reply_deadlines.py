"""Waiting for replies, but only for a limited time."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from reverb.brokers.reply_deadlines import LIMIT, ReplyDeadlines, ReplyOverdueError


class Waits:
    """Waits for replies, and records how each wait ends."""

    def __init__(self):
        self.clock = Clock()
        self.deadlines = ReplyDeadlines(self.clock)
        self.caught_up = 0
        self.deadlines.on_caught_up = self.count
        self.results = {}

    def count(self):
        self.caught_up += 1

    def wait(self, name, reply=None):
        reply = reply or Deferred()
        self.deadlines.limit(reply).addBoth(
            lambda result: self.results.update({name: getattr(result, "type", result)})
        )
        return reply


@pytest.fixture
def waits():
    return Waits()


def test_a_reply_in_time_is_passed_on(waits):
    reply, error = waits.wait("a"), waits.wait("b")
    waits.clock.advance(LIMIT - 0.1)
    reply.callback(1)
    error.errback(ZeroDivisionError())

    assert waits.results == {"a": 1, "b": ZeroDivisionError}
    assert waits.clock.getDelayedCalls() == []


def test_a_reply_that_is_there_already_needs_no_timer(waits):
    waits.wait("a", succeed(1))
    waits.wait("b", fail(ZeroDivisionError()))

    assert waits.results == {"a": 1, "b": ZeroDivisionError}
    assert waits.clock.getDelayedCalls() == []


def test_an_overdue_reply_ends_the_wait(waits):
    waits.wait("a")
    waits.clock.advance(LIMIT)

    assert waits.results == {"a": ReplyOverdueError}


def test_while_a_reply_is_overdue_nobody_else_waits(waits):
    late = waits.wait("a")
    waits.clock.advance(LIMIT)
    second = waits.wait("b")
    assert waits.results["b"] is ReplyOverdueError

    late.callback(1)
    assert waits.caught_up == 0
    second.errback(ZeroDivisionError())
    assert waits.caught_up == 1

    waits.wait("c").callback(3)
    assert waits.results == {"a": ReplyOverdueError, "b": ReplyOverdueError, "c": 3}
    assert waits.caught_up == 1
