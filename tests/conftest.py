"""Fixtures of all folders."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import globalLogBeginner, globalLogPublisher

from support import Log, Wire

settings.register_profile(
    "bounded",
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no error
)
settings.load_profile("bounded")


def pytest_configure():
    """Keep nothing that is logged, and have programs that tests start obey Control-C.

    Twisted keeps it until somebody begins to log, which nobody does here. What
    it lets go of when that is too much would be garbage of the test that is running.
    """
    globalLogPublisher.removeObserver(globalLogBeginner._temporaryObserver)
    # So it is in the background of a shell script, and children would inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out what needs another reactor, and what takes minutes but where it is asked for."""
    _leave_out_other_reactors(config, items)
    # Those first that take minutes: all others go on beside them.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if os.environ.get("CI") == "true" or "long" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes; 'make long' runs it"))


def _leave_out_other_reactors(config, items):
    """Leave to test_asyncio_reactor.py what it runs in a process of its own."""
    if config.getoption("reactor") == "asyncio":
        return
    others = [item for item in items if item.get_closest_marker("asyncio_reactor") is not None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Call a test that waits for the reactor from outside of it, where blockon works."""
    if pyfuncitem.get_closest_marker("outside_reactor") is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture
def log():
    """The log; whatever it tells of a failure fails the test, unless the test takes it."""
    log = Log()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)
    assert log.problems() == []


@pytest.fixture
def servers(log):
    """The servers in memory of a test; each is stopped, and has to leave nothing behind."""
    servers = []
    yield servers
    for server in servers:
        if server.service.running:
            server.stop()
        assert not server.service._websockets.connections


@pytest.fixture
def server(make_server):
    """The one server of a test, made as the folder makes them."""
    return make_server()


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
