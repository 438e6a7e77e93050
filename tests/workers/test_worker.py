"""One worker's process: started, watched, started again, stopped."""

import os
import sys

import pytest
from twisted.internet.defer import gatherResults
from twisted.logger import formatEvent
from workers_support import Reactor

from reverb.workers.backoff import Backoff
from reverb.workers.log_relay import LogRelay
from reverb.workers.worker import Worker

PATIENCE = 3
"""Looks without a sign of life after which a worker is killed."""


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
        orders=b"orders\n",
        sockets=[11, 12],
        reactor=reactor,
        backoff=Backoff(lambda: 1.0),
        make_log_relay=lambda: LogRelay(2, logged.append, lambda: 0.0),
        max_missed_heartbeats=PATIENCE,
    )
    worker.start()
    return worker


def test_it_gets_its_orders_and_its_sockets(worker, reactor):
    (process,) = reactor.processes

    assert process.arguments == [sys.executable, "-P", "-m", "reverb.workers.child", "2"]
    assert process.more["childFDs"] == {0: "w", 1: "r", 2: "r", 3: "r", 4: 11, 5: 12}
    assert process.written == b"orders\n"
    assert process.more["env"]["PYTHONPATH"].split(os.pathsep) == [p for p in sys.path if p]


def test_both_of_its_streams_are_logged(worker, reactor, logged):
    (process,) = reactor.processes
    process.protocol.outReceived(b"one\ntwo")
    process.protocol.errReceived(b"three\nfour")
    assert [formatEvent(e) for e in logged] == ["[worker 2] one", "[worker 2] three"]

    process.end(0)

    assert [formatEvent(e) for e in logged[2:]] == ["[worker 2] two", "[worker 2] four"]


def test_it_is_started_again_after_longer_and_longer_pauses(worker, reactor, log):
    for pause in (0.5, 1, 2):
        count = len(reactor.processes)
        reactor.processes[-1].end(1)
        reactor.advance(pause - 0.01)
        assert len(reactor.processes) == count
        reactor.advance(0.02)
        assert len(reactor.processes) == count + 1

    assert [text for text, _ in log.problems()] == [
        f"worker 2, process {pid}, ended with exit code 1; it is started again in {pause} s"
        for pid, pause in ((100, "0.5"), (101, "1.0"), (102, "2.0"))
    ]


def test_one_that_cannot_be_started_is_tried_again(worker, reactor, log, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(reactor, "spawnProcess", refuse)
        reactor.processes[-1].end(None, 35)
        reactor.advance(0.5)
    reactor.advance(1)

    assert len(reactor.processes) == 2
    assert [text for text, _ in log.problems()] == [
        "worker 2, process 100, was ended by signal 35; it is started again in 0.5 s",
        (
            "worker 2 cannot be started: [Errno 11] Resource temporarily unavailable; it is "
            "started again in 1.0 s"
        ),
    ]


def test_one_that_has_stayed_up_is_started_again_soon(worker, reactor, log):
    reactor.processes[-1].end(1)
    reactor.advance(0.5)
    reactor.advance(60)
    reactor.processes[-1].end(None, 9)

    *_, (text, _) = log.problems()
    assert text == "worker 2, process 101, was ended by SIGKILL; it is started again in 0.5 s"


def test_a_stop_is_done_when_the_process_has_ended(worker, reactor):
    (process,) = reactor.processes

    stopped = worker.stop()

    assert process.signals == ["TERM"]
    assert not stopped.called
    process.end(0)
    assert stopped.called
    reactor.advance(100)
    assert len(reactor.processes) == 1


def test_a_stop_between_two_processes_is_done_at_once(worker, reactor, log):
    reactor.processes[-1].end(1)
    log.problems()

    assert worker.stop().called

    reactor.advance(100)
    assert len(reactor.processes) == 1


def test_a_stop_of_a_process_that_has_just_ended(worker, reactor):
    (process,) = reactor.processes
    process.has_ended = True

    stopped = worker.stop()

    process.end(1)
    assert stopped.called


def test_two_who_stop_it_both_hear_of_its_end(worker, reactor):
    (process,) = reactor.processes
    stopped = gatherResults([worker.stop(), worker.stop()])
    process.end(0)

    assert stopped.called


def test_one_that_does_not_stop_is_killed(worker, reactor, log):
    (process,) = reactor.processes
    stopped = worker.stop()

    worker.kill()

    assert process.signals == ["TERM", "KILL"]
    assert log.lines("worker 2") == ["worker 2, process 100, does not stop and is killed"]
    process.end(None, 9)
    assert stopped.called
    worker.kill()
    assert process.signals == ["TERM", "KILL"]


def beat(process):
    process.protocol.childDataReceived(3, b".")


def look(worker, times):
    for _ in range(times):
        worker.look()


def test_one_that_hangs_is_killed_and_started_again(worker, reactor, log):
    (process,) = reactor.processes
    for _ in range(3):
        beat(process)
        look(worker, PATIENCE - 1)
    assert process.signals == []

    look(worker, 1)

    assert process.signals == ["KILL"]
    look(worker, 10)
    assert process.signals == ["KILL"]
    process.end(None, 9)
    look(worker, 10)
    reactor.advance(0.5)
    assert len(reactor.processes) == 2
    assert [text for text, _ in log.problems()] == [
        "worker 2, process 100, has given no sign of life for 3 s and is killed",
        "worker 2, process 100, was ended by SIGKILL; it is started again in 0.5 s",
    ]


def test_signs_of_life_are_not_logged(worker, reactor, logged):
    (process,) = reactor.processes
    beat(process)
    process.end(0)

    assert logged == []


def test_one_that_is_starting_is_waited_for(worker, reactor):
    beat(reactor.processes[0])
    reactor.processes[0].end(1)
    reactor.advance(0.5)

    look(worker, 100)

    assert reactor.processes[1].signals == []


def test_one_that_is_stopping_is_waited_for(worker, reactor):
    (process,) = reactor.processes
    beat(process)
    stopped = worker.stop()

    look(worker, 100)

    assert process.signals == ["TERM"]
    process.end(0)
    assert stopped.called
