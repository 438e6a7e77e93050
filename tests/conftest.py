"""Hooks for all folders of tests; the fixtures are those of ``tests.support``."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from twisted.logger import globalLogBeginner, globalLogPublisher

pytest_plugins = ["tests.support", "tests.support.rings"]

settings.register_profile(
    "bounded",
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # A slow machine is not an error.
)
settings.load_profile("bounded")


def pytest_configure():
    """Disable Twisted's buffer of log events, and enable SIGINT for child processes.

    Twisted buffers events until logging begins, which it never does here. An event that it drops
    from a full buffer would count as garbage of the running test.
    """
    globalLogPublisher.removeObserver(globalLogBeginner._temporaryObserver)
    # A shell script ignores SIGINT for background jobs, and child processes would inherit this.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Deselect tests that need another reactor, and skip long tests unless they are requested."""
    _deselect_other_reactors(config, items)
    # Start the long tests first, so that the others run beside them.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if os.environ.get("CI") == "true" or "long" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="takes minutes; 'make long' runs it"))


def _deselect_other_reactors(config, items):
    """Deselect the tests that test_asyncio_reactor.py runs in a process of its own."""
    if config.getoption("reactor") == "asyncio":
        return
    others = [item for item in items if item.get_closest_marker("asyncio_reactor") is not None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Call a test that is marked outside_reactor outside the reactor, where blockon works."""
    if pyfuncitem.get_closest_marker("outside_reactor") is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    return True
