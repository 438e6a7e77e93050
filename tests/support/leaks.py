"""Fails a test that leaves a delayed call, a socket or a Deferred with an unhandled error.

A test that fails itself is not checked. What fixtures of a module or of the session leave open is
not a leak of the tests that use them. Clocks and reactors that tests create are not checked.
"""

import gc
import os
import socket
import stat
import time
from typing import NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor, task
from twisted.logger import globalLogPublisher

from tests.support import ports

GRACE = 1.0
"""Seconds for sockets to close of themselves, as another process or thread may take part in it."""

_TURNS = 2
"""Turns of the reactor for calls and disconnections that are under way, as in trial."""

_failed = pytest.StashKey[bool]()


class UnhandledErrors:
    """A log observer that collects the tracebacks of errors that no errback has handled.

    Twisted logs such an error when the Deferred is deleted: a heading, then the failure.
    """

    def __init__(self):
        self._is_next = False
        self._tracebacks = []

    def __call__(self, event):
        if event.get("log_namespace") != "twisted.internet.defer":
            return
        if self._is_next and "log_failure" in event:
            self._tracebacks.append(event["log_failure"].getTraceback().rstrip())
        self._is_next = event.get("log_format") == "Unhandled error in Deferred:"

    def take(self):
        """Delete unreachable Deferreds; return the new tracebacks, each with an introduction."""
        gc.collect()
        taken, self._tracebacks = self._tracebacks, []
        return [f"a Deferred with an unhandled error:\n{traceback}" for traceback in taken]


_unhandled_errors = UnhandledErrors()


class Open(NamedTuple):
    """What is scheduled in the reactor, watched by it, or open in the process, each by a key."""

    calls: dict
    watched: dict
    sockets: dict

    @classmethod
    def now(cls):
        return cls(_scheduled(), _watched(), _open_sockets())

    def since(self, before):
        """Return what was not open before."""
        return Open(
            *(
                {key: now[key] for key in now.keys() - then.keys()}
                for now, then in zip(self, before, strict=True)
            )
        )

    def descriptions(self):
        """Name everything; a socket that the reactor watches is named once."""
        watched = self.watched.values()
        descriptors = {fd for one in watched if (fd := one.fileno()) >= 0}
        return [
            *(f"a delayed call: {_describe_call(call)}" for call in self.calls.values()),
            *(f"a reader or writer in the reactor: {_describe_watched(one)}" for one in watched),
            *(
                f"an open socket: {_describe_socket(fd)}"
                for fd in self.sockets.values()
                if fd not in descriptors
            ),
        ]


def _scheduled():
    """The delayed calls; that of a loop by the loop, which makes a new one each time."""
    calls = reactor.getDelayedCalls()
    return {call.func if isinstance(call.func, task.LoopingCall) else call: call for call in calls}


def _watched():
    """The reactor's readers and writers by identity, without those that it uses itself."""
    selectables = [*reactor.getReaders(), *reactor.getWriters()]
    return {id(one): one for one in selectables if one not in reactor._internalReaders}


def _open_sockets():
    """The descriptors of all open sockets, by the identity of the socket."""
    found = {}
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - this runs twice for each test
        descriptor = int(name)
        try:
            status = os.fstat(descriptor)
        except OSError:  # The descriptor of the listing itself.
            continue
        if stat.S_ISSOCK(status.st_mode):
            found[status.st_dev, status.st_ino] = descriptor
    for identity in ports.reserved:
        found.pop(identity, None)
    return found


def _describe_call(call):
    function = call.func
    name = getattr(function, "__qualname__", None)
    shown = f"{function.__module__}.{name}" if name else repr(function)
    return f"{shown}, due in {call.getTime() - reactor.seconds():.1f} s"


def _describe_watched(selectable):
    descriptor = selectable.fileno()
    where = f" ({_describe_socket(descriptor)})" if descriptor >= 0 else ""
    return f"{selectable!r}{where}"


def _describe_socket(descriptor):
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            return f"{_address(copy.getsockname)}, connected to {_address(copy.getpeername)}"
    except OSError as error:
        return f"descriptor {descriptor}, {error.strerror}"


def _address(ask):
    try:
        address = ask()
    except OSError:
        return "nothing"
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return f"the Unix socket {address!r}"


def _left_since(before):
    """What is open now and was not before, after the time that closing may take."""
    # A turn also ends the call of the test itself, whose frames refer to its arguments.
    for _ in range(_TURNS):
        pytest_twisted.blockon(task.deferLater(reactor, 0))
    left = Open.now().since(before)
    calls = left.calls
    end = time.monotonic() + GRACE
    while (left.watched or left.sockets) and time.monotonic() < end:
        pytest_twisted.blockon(task.deferLater(reactor, 0.01))
        left = Open.now().since(before)
    if left.sockets:
        # A socket that is garbage is no leak, but a ResourceWarning, which pyproject.toml judges.
        gc.collect()
        left = Open.now().since(before)
    return left._replace(calls=calls)


def pytest_configure():
    """Observe the log during the whole run."""
    globalLogPublisher.addObserver(_unhandled_errors)


def pytest_unconfigure():
    """Let a run inside of this one have its own observer."""
    globalLogPublisher.removeObserver(_unhandled_errors)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Note that a test has failed."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(autouse=True)
def no_leaks(request):
    """Fail a test that leaves a delayed call, a socket, or a Deferred with an unhandled error."""
    # The collector need not look at older objects again, so that it takes well below 1 ms.
    gc.freeze()
    before = Open.now()
    yield
    left = _left_since(before).descriptions()
    # They may have the last reference to a Deferred.
    request.node.funcargs.clear()
    left += _unhandled_errors.take()
    if left and not request.node.stash.get(_failed, False):
        pytest.fail("\n".join(["The test leaves", *left]), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def no_unhandled_errors_of_module():
    """Fail the last test of a module whose fixtures leave a Deferred with an unhandled error."""
    yield
    left = _unhandled_errors.take()
    if left:
        pytest.fail("\n".join(["The module's fixtures leave", *left]), pytrace=False)
