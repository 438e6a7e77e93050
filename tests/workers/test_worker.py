"""The process of one worker is started, checked, restarted and stopped."""

import os
import sys

import pytest
from twisted.internet.defer import gatherResults
from twisted.logger import formatEvent

from reverb.workers.backoff import Backoff
from reverb.workers.log_relay import LogRelay
from reverb.workers.worker import Worker

from .fakes import Reactor

MAX_MISSED_HEARTBEATS = 3


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def logged():
    return []


@pytest.fixture
def worker(reactor, logged):
    worker = Worker(
        number=2,
        config=b"config\n",
        sockets=[11, 12],
        reactor=reactor,
        backoff=Backoff(lambda: 1.0),
        make_log_relay=lambda: LogRelay(2, logged.append, lambda: 0.0),
        max_missed_heartbeats=MAX_MISSED_HEARTBEATS,
    )
    worker.start()
    return worker


def test_it_gets_its_configuration_and_its_sockets(worker, reactor):
    (process,) = reactor.processes

    assert process.arguments == [sys.executable, "-P", "-m", "reverb.workers.child", "2"]
    assert process.more["childFDs"] == {0: "w", 1: "r", 2: "r", 3: "r", 4: 11, 5: 12}
    assert process.written == b"config\n"
    assert process.more["env"]["PYTHONPATH"].split(os.pathsep) == [p for p in sys.path if p]


def test_both_output_streams_are_logged(worker, reactor, logged):
    (process,) = reactor.processes
    process.protocol.outReceived(b"one\ntwo")
    process.protocol.errReceived(b"three\nfour")
    assert [formatEvent(e) for e in logged] == ["[worker 2] one", "[worker 2] three"]

    process.end(0)

    assert [formatEvent(e) for e in logged[2:]] == ["[worker 2] two", "[worker 2] four"]


def test_it_is_restarted_after_growing_delays(worker, reactor, log):
    for delay in (0.5, 1, 2):
        count = len(reactor.processes)
        reactor.processes[-1].end(1)
        reactor.advance(delay - 0.01)
        assert len(reactor.processes) == count
        reactor.advance(0.02)
        assert len(reactor.processes) == count + 1

    assert [text for text, _ in log.problems()] == [
        f"worker 2, process {pid}, exited with code 1; restarting it in {delay} s"
        for pid, delay in ((100, "0.5"), (101, "1.0"), (102, "2.0"))
    ]


def test_a_process_that_cannot_be_started_is_retried(worker, reactor, log, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(reactor, "spawnProcess", refuse)
        reactor.processes[-1].end(None, 35)
        reactor.advance(0.5)
    reactor.advance(1)

    assert len(reactor.processes) == 2
    assert [text for text, _ in log.problems()] == [
        "worker 2, process 100, was killed by signal 35; restarting it in 0.5 s",
        (
            "worker 2 cannot be started: [Errno 11] Resource temporarily unavailable; "
            "restarting it in 1.0 s"
        ),
    ]


def test_a_process_that_stayed_up_is_restarted_soon(worker, reactor, log):
    reactor.processes[-1].end(1)
    reactor.advance(0.5)
    reactor.advance(60)
    reactor.processes[-1].end(None, 9)

    *_, (text, _) = log.problems()
    assert text == "worker 2, process 101, was killed by SIGKILL; restarting it in 0.5 s"


def test_the_stop_is_complete_when_the_process_has_exited(worker, reactor):
    (process,) = reactor.processes

    stopped = worker.stop()

    assert process.signals == ["TERM"]
    assert not stopped.called
    process.end(0)
    assert stopped.called
    reactor.advance(100)
    assert len(reactor.processes) == 1


def test_a_stop_during_the_restart_delay_is_complete_at_once(worker, reactor, log):
    reactor.processes[-1].end(1)
    log.problems()

    assert worker.stop().called

    reactor.advance(100)
    assert len(reactor.processes) == 1


def test_a_stop_of_a_process_that_has_just_exited(worker, reactor):
    (process,) = reactor.processes
    process.has_exited = True

    stopped = worker.stop()

    process.end(1)
    assert stopped.called


def test_two_calls_of_stop_both_fire(worker, reactor):
    (process,) = reactor.processes
    stopped = gatherResults([worker.stop(), worker.stop()])
    process.end(0)

    assert stopped.called


def test_a_process_that_does_not_stop_is_killed(worker, reactor, log):
    (process,) = reactor.processes
    stopped = worker.stop()

    worker.kill()

    assert process.signals == ["TERM", "KILL"]
    assert log.lines("worker 2") == ["worker 2, process 100, does not stop; killing it"]
    process.end(None, 9)
    assert stopped.called
    worker.kill()
    assert process.signals == ["TERM", "KILL"]


def send_heartbeat(process):
    process.protocol.childDataReceived(3, b".")


def check(worker, times):
    for _ in range(times):
        worker.check()


def test_a_process_that_hangs_is_killed_and_restarted(worker, reactor, log):
    (process,) = reactor.processes
    for _ in range(3):
        send_heartbeat(process)
        check(worker, MAX_MISSED_HEARTBEATS - 1)
    assert process.signals == []

    check(worker, 1)

    assert process.signals == ["KILL"]
    check(worker, 10)
    assert process.signals == ["KILL"]
    process.end(None, 9)
    check(worker, 10)
    reactor.advance(0.5)
    assert len(reactor.processes) == 2
    assert [text for text, _ in log.problems()] == [
        "worker 2, process 100, has sent no heartbeat for 3 s; killing it",
        "worker 2, process 100, was killed by SIGKILL; restarting it in 0.5 s",
    ]


def test_heartbeats_are_not_logged(worker, reactor, logged):
    (process,) = reactor.processes
    send_heartbeat(process)
    process.end(0)

    assert logged == []


def test_a_starting_process_is_not_killed(worker, reactor):
    send_heartbeat(reactor.processes[0])
    reactor.processes[0].end(1)
    reactor.advance(0.5)

    check(worker, 100)

    assert reactor.processes[1].signals == []


def test_a_stopping_process_is_not_killed_by_checks(worker, reactor):
    (process,) = reactor.processes
    send_heartbeat(process)
    stopped = worker.stop()

    check(worker, 100)

    assert process.signals == ["TERM"]
    process.end(0)
    assert stopped.called
