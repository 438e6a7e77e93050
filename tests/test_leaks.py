"""A test that leaves something behind fails, and the message names what it left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

TESTS = """
import gc
import socket
import time

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, LoopingCall


def ring():
    pass


def test_delayed_call():
    reactor.callLater(60, ring)


def test_nothing_after_a_delayed_call():
    pass


def test_call_of_this_turn():
    reactor.callLater(0, ring)


def test_call_of_a_clock():
    Clock().callLater(60, ring)


kept = []


def test_socket():
    listening = socket.create_server(("127.0.0.1", 0))
    kept.append(listening)
    kept.append(socket.create_connection(listening.getsockname()))


def test_port():
    kept.append(reactor.listenTCP(0, Factory(), interface="127.0.0.1"))


def test_port_that_is_being_closed():
    reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()


def fail_in_a_deferred():
    deferred = Deferred()
    deferred.addCallback(lambda _: 1 / 0)
    deferred.callback(None)
    return deferred


def test_deferred():
    fail_in_a_deferred()


def test_deferred_in_a_cycle():
    deferred = fail_in_a_deferred()
    deferred.itself = deferred
    gc.collect(1)  # Now it is among the old objects.


class Holder:
    pass


@pytest.fixture
def holder():
    return Holder()


def test_deferred_of_a_fixture(holder):
    holder.deferred = fail_in_a_deferred()


def test_handled_deferred():
    fail_in_a_deferred().addErrback(lambda failure: failure.trap(ZeroDivisionError))


@pytest.fixture(scope="module")
def shared():
    loop = LoopingCall(ring)
    loop.start(0.001, now=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening
    loop.stop()


@pytest.mark.parametrize("number", range(2))
def test_what_belongs_to_the_module(shared, number):
    time.sleep(0.002)  # The loop is due.


def test_failing():
    fail_in_a_deferred()
    assert False, "the only problem"
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The final lines about each test that did not just pass, by its name."""
    directory = tmp_path_factory.mktemp("leaks")
    (directory / "test_these.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--tb=short", "test_these.py"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    _, *sections = done.stdout.split("\n_")
    found = {}
    for section in sections:
        heading, _, text = section.partition("\n")
        found[heading.strip("_ ").removeprefix("ERROR at teardown of test_")] = text.partition(
            "\n="
        )[0]
    return found


@pytest.mark.parametrize(
    ("test", "pattern"),
    [
        ("delayed_call", r"a delayed call: test_these\.ring, due in (60\.0|59\.\d) s"),
        (
            "socket",
            r"(an open socket: 127\.0\.0\.1:\d+, connected to (nothing|127\.0\.0\.1:\d+)(\n|$)){2}",
        ),
        (
            "port",
            r"a reader or writer in the reactor: <.*Factory.* on \d+> \(127\.0\.0\.1:\d+, .*\)",
        ),
        (
            "deferred",
            r"a Deferred with an unhandled error:\nTraceback (.*\n)+.*ZeroDivisionError: .*",
        ),
    ],
)
def test_the_message_names_what_is_left(outcomes, test, pattern):
    assert_matches(outcomes[test], rf"The test leaves\n{pattern}")


@pytest.mark.parametrize("test", ["deferred_in_a_cycle", "deferred_of_a_fixture"])
def test_an_unhandled_error_is_found_wherever_it_is(outcomes, test):
    assert "ZeroDivisionError" in outcomes[test]


def test_nothing_else_fails(outcomes):
    assert outcomes.keys() == {
        "delayed_call",
        "socket",
        "port",
        "deferred",
        "deferred_in_a_cycle",
        "deferred_of_a_fixture",
        "test_failing",
    }
    assert "ZeroDivisionError" not in outcomes["test_failing"]


def assert_matches(text, pattern):
    """Assert that a pattern matches a text, and show both if it does not."""
    assert re.fullmatch(pattern, text.strip()), f"{text}\ndoes not match\n{pattern}"
