"""Fixtures of all folders."""

import pytest
from twisted.logger import globalLogPublisher

from support import Log, Wire


@pytest.fixture
def log():
    """The log; whatever it tells of a failure fails the test, unless the test takes it."""
    log = Log()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)
    assert log.problems() == []


@pytest.fixture
def wire(server):
    """Open a raw connection, to another server if one is given."""
    wires = []

    def open_wire(to=None):
        wires.append(Wire(to or server))
        return wires[-1]

    yield open_wire
    for wire in wires:
        wire.vanish()
