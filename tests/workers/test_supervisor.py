"""The parent: what it starts, and how it stops; real processes are in tests/e2e."""

import signal

import msgspec
import pytest
from workers_support import Reactor

from reverb.apps import App
from reverb.process import StartError
from reverb.settings import Settings
from reverb.workers.supervisor import WorkerSupervisor
from reverb.workers.worker_config import FIRST_SOCKET, WorkerConfig

SETTINGS = Settings(
    apps=(App(id="1", key="key", secret="secret"),),
    listen=("tcp:0:interface=127.0.0.1",),
    metrics_listen=("tcp:0:interface=127.0.0.1",),
    workers=2,
    shutdown_timeout=10,
)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture(autouse=True)
def _same_signals():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def parent(reactor, log):
    parent = WorkerSupervisor(SETTINGS, reactor=reactor)
    parent.privilegedStartService()
    parent.startService()
    yield parent
    if parent.running:
        parent.stopService()
        end(reactor)
    reactor.advance(0)


def end(reactor):
    for process in reactor.processes:
        process.end(0)


def test_every_worker_has_settings_and_sockets_of_its_own(parent, reactor):
    orders = [msgspec.json.decode(p.written, type=WorkerConfig) for p in reactor.processes]

    assert [process.arguments[-1] for process in reactor.processes] == ["1", "2"]
    assert [one.settings.workers for one in orders] == [1, 1]
    assert {one.reactor for one in orders} == {"workers_support"}
    sockets = [
        fd for p in reactor.processes for to, fd in p.more["childFDs"].items() if to >= FIRST_SOCKET
    ]
    assert len(set(sockets)) == len(sockets) == 4


def test_it_tells_where_they_listen(parent, log):
    port = parent._shared[0].port.getHost().port

    assert log.lines("listening on") == [f"listening on 127.0.0.1:{port}"]


def test_a_stop_is_done_when_all_have_ended(parent, reactor):
    stopped = parent.stopService()

    one, other = reactor.processes
    assert one.signals == other.signals == ["TERM"]
    one.end(0)
    reactor.advance(5)
    assert not stopped.called
    other.end(0)
    reactor.advance(0)
    assert stopped.called
    assert not reactor.getDelayedCalls()


def test_who_needs_longer_than_a_node_may_is_killed(parent, reactor, log):
    stopped = parent.stopService()
    one, other = reactor.processes
    one.end(0)

    reactor.advance(39.9)
    assert other.signals == ["TERM"]
    reactor.advance(0.2)

    assert other.signals == ["TERM", "KILL"]
    assert log.lines("worker 2") == ["worker 2, process 101, does not stop and is killed"]
    other.end(None, 9)
    reactor.advance(0)
    assert stopped.called


def test_who_gives_no_sign_of_life_for_30_seconds_is_killed(parent, reactor, log):
    one, other = reactor.processes
    for second in range(100):
        one.protocol.childDataReceived(3, b".")
        if second < 10:
            other.protocol.childDataReceived(3, b".")
        reactor.advance(1)
        assert other.signals == ([] if second < 38 else ["KILL"])

    assert one.signals == []
    ((text, _),) = log.problems()
    assert text == "worker 2, process 101, has given no sign of life for 30 s and is killed"


def test_while_the_parent_is_stopped_nobody_is_missed(parent, reactor):
    for process in reactor.processes:
        process.protocol.childDataReceived(3, b".")
    for _ in range(20):
        reactor.advance(3600)

    assert [process.signals for process in reactor.processes] == [[], []]


def test_an_address_in_use_ends_the_process_with_one_line(parent, reactor, log):
    port = parent._shared[0].port.getHost().port
    settings = msgspec.structs.replace(SETTINGS, listen=(f"tcp:{port}:interface=127.0.0.1",))

    with pytest.raises(StartError) as raised:
        WorkerSupervisor(settings, reactor=reactor).privilegedStartService()

    assert raised.value.code == 1
    ((text, _),) = log.problems()
    assert text.startswith(f"reverb: cannot listen: Couldn't listen on 127.0.0.1:{port}: ")
