"""The reactor and the clock that a node runs on."""

import time

from twisted.internet import reactor
from twisted.internet.testing import MemoryReactorClock

from reverb.runtime import Runtime


def test_the_defaults_are_the_global_reactor_and_the_wall_clock():
    runtime = Runtime()

    assert runtime.reactor is runtime.listening_reactor is reactor
    assert runtime.now is time.time


def test_endpoints_listen_with_the_given_reactor():
    clock, sockets = MemoryReactorClock(), object()

    assert Runtime(reactor=clock).listening_reactor is clock
    assert Runtime(reactor=clock, listening_reactor=sockets).listening_reactor is sockets
