"""Waiting on the real reactor, for tests that are marked ``outside_reactor``."""

import pytest_twisted
from twisted.internet import reactor, task

BOUND = 20
"""Seconds after which what a test waits for has failed."""


def wait(deferred, seconds=BOUND):
    """Run the reactor until a Deferred has fired; return its result."""
    return pytest_twisted.blockon(deferred.addTimeout(seconds, reactor))


def pause(seconds):
    """Run the reactor for some seconds."""
    wait(task.deferLater(reactor, seconds))


def until(what, ask, seconds=BOUND):
    """Run the reactor until a function returns a true value; return that value."""
    end = reactor.seconds() + seconds
    while not (answer := ask()):
        assert reactor.seconds() < end, f"{what}: not within {seconds} s"
        pause(0.01)
    return answer
