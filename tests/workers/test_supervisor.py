"""The supervisor starts, checks and stops workers. tests/e2e has real processes."""

import signal

import msgspec
import pytest

from reverb.apps import App
from reverb.process import StartError
from reverb.settings import Settings
from reverb.workers.supervisor import WorkerSupervisor
from reverb.workers.worker_config import FIRST_SOCKET_DESCRIPTOR, WorkerConfig

from .fakes import Reactor

SETTINGS = Settings(
    apps=(App(id="1", key="key", secret="s3cr3t-0f-app"),),
    listen=("tcp:0:interface=127.0.0.1",),
    metrics_listen=("tcp:0:interface=127.0.0.1",),
    workers=2,
    shutdown_timeout=10,
)


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture(autouse=True)
def _restore_signals():
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def supervisor(reactor, log):
    supervisor = WorkerSupervisor(SETTINGS, reactor=reactor)
    supervisor.privilegedStartService()
    supervisor.startService()
    yield supervisor
    if supervisor.running:
        supervisor.stopService()
        end(reactor)
    reactor.advance(0)


def end(reactor):
    for process in reactor.processes:
        process.end(0)


def test_no_worker_shows_a_secret_in_the_process_list(supervisor, reactor):
    for process in reactor.processes:
        assert SETTINGS.apps[0].secret in process.written.decode()
        assert SETTINGS.apps[0].secret not in repr((process.arguments, process.more))


def test_every_worker_has_its_own_settings_and_sockets(supervisor, reactor):
    configs = [msgspec.json.decode(p.written, type=WorkerConfig) for p in reactor.processes]

    assert [process.arguments[-1] for process in reactor.processes] == ["1", "2"]
    assert [config.settings.workers for config in configs] == [1, 1]
    assert {config.reactor for config in configs} == {Reactor.__module__}
    sockets = [
        fd
        for process in reactor.processes
        for target, fd in process.more["childFDs"].items()
        if target >= FIRST_SOCKET_DESCRIPTOR
    ]
    assert len(set(sockets)) == len(sockets) == 4


def test_it_logs_the_address(supervisor, log):
    port = supervisor._shared_sockets[0].port.getHost().port

    assert log.lines("listening on") == [f"listening on 127.0.0.1:{port}"]


def test_the_stop_is_complete_when_all_workers_have_exited(supervisor, reactor):
    stopped = supervisor.stopService()

    one, other = reactor.processes
    assert one.signals == other.signals == ["TERM"]
    one.end(0)
    reactor.advance(5)
    assert not stopped.called
    other.end(0)
    reactor.advance(0)
    assert stopped.called
    assert not reactor.getDelayedCalls()


def test_a_worker_that_takes_too_long_to_stop_is_killed(supervisor, reactor, log):
    stopped = supervisor.stopService()
    one, other = reactor.processes
    one.end(0)

    reactor.advance(39.9)
    assert other.signals == ["TERM"]
    reactor.advance(0.2)

    assert other.signals == ["TERM", "KILL"]
    assert log.lines("worker 2") == ["worker 2, process 101, does not stop; killing it"]
    other.end(None, 9)
    reactor.advance(0)
    assert stopped.called


def test_a_worker_without_a_heartbeat_for_30_seconds_is_killed(supervisor, reactor, log):
    one, other = reactor.processes
    for second in range(100):
        one.protocol.childDataReceived(3, b".")
        if second < 10:
            other.protocol.childDataReceived(3, b".")
        reactor.advance(1)
        assert other.signals == ([] if second < 38 else ["KILL"])

    assert one.signals == []
    ((text, _),) = log.problems()
    assert text == "worker 2, process 101, has sent no heartbeat for 30 s; killing it"


def test_no_heartbeat_counts_as_missed_while_the_supervisor_is_stopped(supervisor, reactor):
    for process in reactor.processes:
        process.protocol.childDataReceived(3, b".")
    for _ in range(20):
        reactor.advance(3600)

    assert [process.signals for process in reactor.processes] == [[], []]


def test_an_address_in_use_ends_the_process_with_a_one_line_error(supervisor, reactor, log):
    port = supervisor._shared_sockets[0].port.getHost().port
    settings = msgspec.structs.replace(SETTINGS, listen=(f"tcp:{port}:interface=127.0.0.1",))

    with pytest.raises(StartError) as raised:
        WorkerSupervisor(settings, reactor=reactor).privilegedStartService()

    assert raised.value.code == 1
    ((text, _),) = log.problems()
    assert text.startswith(f"reverb: cannot listen: Couldn't listen on 127.0.0.1:{port}: ")
