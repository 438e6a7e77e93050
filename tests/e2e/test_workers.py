"""Several workers behind one parent: real processes, real sockets, a real Redis."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from e2e_endpoint import Endpoint
from e2e_raw import CLOSE, RawWebSocket, frame
from e2e_scaling import LEASE, Client, publish
from e2e_server import APP, AS_APP, BOUND, BY_SYSTEMD, Server, activation, clean_environment, poll

from nats_server import NatsServer
from redis_server import RedisServer

MANY = 40
"""Connections of which each worker gets some, but once in 2 ** 39."""
LONG = 60
"""Seconds for what is several starts of a process on a busy machine."""
IMPATIENT = """
import functools, runpy, sys
from reverb import tap
tap.WorkerSupervisor = functools.partial(tap.WorkerSupervisor, max_missed_heartbeats=10)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs twistd with a parent that waits 10 seconds for a sign of life."""


def children(pid: int) -> dict[int, int]:
    """The processes that a process has started, by the numbers of workers."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # Between fork and exec it has the parent's own words.
            if parent == pid and b"reverb.workers.child" in words:
                found[int(words[-2])] = int(entry.name)
    return found


def is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids) -> bool:
    return not any(map(is_running, pids))


@pytest.fixture
def start_workers(start_server, redis: RedisServer, tmp_path):
    """Start a parent with two workers that share a Redis."""
    config = tmp_path / "workers.toml"

    def start(*arguments: str, more: str = "", **options: object) -> Server:
        url = redis.url("shop")
        config.write_text(f'redis = "{url}"\nredis_lease = {LEASE}\nworkers = 2\n{more}')
        words = arguments or ("--port", "0", *AS_APP)
        return start_server(*words, "--config", str(config), **options)

    return start


@pytest.fixture
def workers(start_workers) -> Server:
    server = start_workers("--port", "0", "--metrics-listen", "0", *AS_APP)
    until_ready(server)
    return server


def until_ready(server: Server, number: int = 2) -> None:
    poll("ready", lambda: server.log.count("connected to Redis") >= number, LONG)


def connections_of(server: Server, number: int) -> int:
    """Ask one worker's metrics how many clients it has."""
    found = re.findall(rf"\[worker {number}\] serving metrics on 127\.0\.0\.1:(\d+)\n", server.log)
    connection = http.client.HTTPConnection("127.0.0.1", int(found[-1]), timeout=BOUND)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(
        int(float(n)) for n in re.findall(r"^reverb_connections\{.*\} (\S+)$", text, re.MULTILINE)
    )


@pytest.fixture
def crowd(workers: Server, connect) -> list[Client]:
    clients = [connect(workers) for _ in range(MANY)]
    for client in clients:
        client.subscribe("news")
    return clients


def test_connections_are_spread_and_hear_what_is_published_on_any_worker(workers, crowd):
    one, other = (connections_of(workers, number) for number in (1, 2))
    assert one + other == MANY
    assert one > 0
    assert other > 0
    # Each request comes to one of the workers, on a connection of its own.
    for number in range(10):
        publish(workers, "news", number)
    for client in crowd:
        while len(client.heard) < 10:
            client.read()
        assert sorted(client.heard) == list(range(10))
    assert workers.ask("/connections") == {"connections": MANY}


def test_a_worker_that_is_killed_is_started_again_and_the_others_go_on(workers, crowd, connect):
    before = children(workers.process.pid)
    survivors = connections_of(workers, 1)
    os.kill(before[2], signal.SIGKILL)
    poll("told of", lambda: "was killed by SIGKILL" in workers.log, LONG)
    assert re.search(
        rf"worker 2, process {before[2]}, was killed by SIGKILL; restarting it in 0\.\d s\n",
        workers.log,
    )
    lost = [client for client in crowd if client.has_been_sent_anything()]
    assert len(lost) == MANY - survivors
    until_ready(workers, 3)
    after = children(workers.process.pid)
    assert after.keys() == before.keys()
    assert after[1] == before[1]
    assert after[2] != before[2]
    newcomers = [connect(workers) for _ in range(MANY)]
    for client in newcomers:
        client.subscribe("news")
    assert connections_of(workers, 2) > 0
    publish(workers, "news", "again")
    for client in [*newcomers, *(client for client in crowd if client not in lost)]:
        client.hear("again")


def test_a_worker_that_hangs_is_killed_and_started_again(start_workers, connect):
    server = start_workers(command=(sys.executable, "-c", IMPATIENT))
    until_ready(server)
    before = children(server.process.pid)
    os.kill(before[2], signal.SIGSTOP)
    try:
        poll("killed", lambda: "was killed by SIGKILL" in server.log, LONG)
    finally:
        with suppress(ProcessLookupError):
            os.kill(before[2], signal.SIGCONT)
    told = f"worker 2, process {before[2]}, has sent no heartbeat for 10 s; killing it\n"
    assert server.log.count("no heartbeat") == server.log.count(told) == 1
    until_ready(server, 3)
    after = children(server.process.pid)
    assert after.keys() == before.keys()
    assert after[1] == before[1]
    clients = [connect(server) for _ in range(MANY)]
    for client in clients:
        client.subscribe("news")
    publish(server, "news", "again")
    for client in clients:
        client.hear("again")
        client.socket.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_parent_stops_all_as_it_does_a_node(workers, stop):
    processes = children(workers.process.pid).values()
    assert len(processes) == 2
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(workers)) for _ in range(10)]
        workers.process.send_signal(stop)
        for client in clients:
            leave(client)
        assert workers.process.wait(LONG) in (0, -stop)
    assert gone(processes)
    with pytest.raises(ConnectionRefusedError):
        workers.connect()
    assert "restarting it" not in workers.log
    workers.check_log()


def leave(client: Client) -> None:
    """Do what a client does that is asked to reconnect."""
    assert client.read_until("pusher:error")["code"] == 4200
    closing = client.next()
    assert (closing.opcode, closing.close_code) == (CLOSE, 4200)
    client.socket.sendall(frame(closing.payload, CLOSE))


def test_the_parent_waits_for_its_workers_whatever_else_is_signalled(workers):
    processes = children(workers.process.pid)
    os.kill(processes[1], signal.SIGSTOP)
    try:
        workers.terminate()
        poll("killed", lambda: gone([processes[2]]), LONG)
        poll("told of", lambda: "Received SIGTERM" in workers.log)
        workers.terminate()
        poll("a second signal is told of", lambda: "already stopping" in workers.log)
        assert is_running(processes[1])
    finally:
        os.kill(processes[1], signal.SIGCONT)
    assert workers.process.wait(LONG) in (0, -signal.SIGTERM)
    assert gone(processes.values())


def test_workers_stop_by_themselves_when_the_parent_is_killed(workers):
    processes = children(workers.process.pid).values()
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(workers)) for _ in range(10)]
        workers.process.kill()
        for client in clients:
            leave(client)
    poll("gone", lambda: gone(processes), LONG)
    with pytest.raises(ConnectionRefusedError):
        workers.connect()


def test_each_line_of_a_workers_log_tells_whose_it_is(workers):
    for number in (1, 2):
        assert f"[worker {number}] listening on 127.0.0.1:{workers.port}\n" in workers.log
        assert f"[worker {number}] connected to Redis at redis://" in workers.log
    for line in workers.log.splitlines():
        assert re.match(r"[\dT:+-]+ \[[^]]+\] |\t", line), line


def test_several_need_a_redis(start_server):
    server = start_server("--port", "0", "--workers", "2", *AS_APP, wait=False)
    assert server.wait() == 1
    assert server.log == (
        "reverb: --workers: 2 workers need a Redis to act as one server: set --redis too\n"
    )


def test_one_is_an_ordinary_node(start_server):
    server = start_server("--port", "0", "--workers", "1", *AS_APP)
    assert children(server.process.pid) == {}
    assert "[worker" not in server.log


def test_a_redis_that_refuses_the_password_is_told_of_in_one_line(start_server, tmp_path):
    redis = RedisServer(tmp_path, "--requirepass", "right")
    try:
        url = redis.url(credentials=":wrong@")
        server = start_server("--port", "0", "--workers", "2", "--redis", url, *AS_APP, wait=False)
        assert server.wait() == 1
    finally:
        redis.kill()
    assert len(re.findall(r"reverb: Redis at .* cannot be used: WRONGPASS", server.log)) == 1
    assert "[worker" not in server.log
    server.check_log()


def test_the_port_of_other_workers_is_in_use(workers, start_workers):
    second = start_workers("--port", str(workers.port), *AS_APP, wait=False)
    assert second.wait() == 1
    told = [line for line in second.log.splitlines() if "cannot listen" in line]
    assert len(told) == 1
    assert f":{workers.port}: [Errno 98] Address already in use" in told[0]
    assert "[worker" not in second.log
    second.check_log()


@pytest.fixture
def endpoint():
    running = Endpoint()
    yield running
    running.close()


def test_one_of_them_sends_webhooks_for_all(start_workers, endpoint):
    hook = f"[[app_defaults.webhooks]]\nurl = '{endpoint.url}'\n[webhooks]\ndebounce = 0\n"
    server = start_workers("--port", "0", *AS_APP, more=hook)
    until_ready(server)
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.subscribe("presence-room", f"user{number}")
        there = {("presence-room", None)} | {("presence-room", f"user{n}") for n in range(10)}
        poll("told", lambda: endpoint.there == there)
    poll("told of the end", lambda: not endpoint.there)
    assert server.log.count("this node sends the webhooks of all nodes") == 1
    server.stop()


def test_workers_that_are_stopped_tell_that_all_have_left(start_workers, endpoint):
    hook = f"[[app_defaults.webhooks]]\nurl = '{endpoint.url}'\n[webhooks]\ndebounce = 60\n"
    server = start_workers("--port", "0", *AS_APP, more=hook)
    until_ready(server)
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.subscribe("presence-room", f"user{number}")
        poll("told", lambda: len(endpoint.there) == 11)
        server.terminate()
        for client in clients:
            leave(client)
        assert server.process.wait(LONG) in (0, -signal.SIGTERM)
    assert endpoint.there == set()
    server.check_log()


def test_they_hear_each_other_over_nats(start_workers, tmp_path, connect):
    directory = tmp_path / "nats"
    directory.mkdir()
    nats = NatsServer(directory)
    try:
        words = ("--port", "0", "--broker", nats.url("shop"), *AS_APP)
        server = start_workers(*words, reactor="asyncio")
        until_ready(server)
        poll("NATS", lambda: server.log.count("connected to NATS") >= 2, LONG)
        clients = [connect(server) for _ in range(MANY)]
        for client in clients:
            client.subscribe("news")
        publish(server, "news", "headline")
        for client in clients:
            client.hear("headline")
            client.socket.close()
        server.check_empty()
        server.stop()
    finally:
        nats.kill()


def test_nats_on_another_reactor_is_told_of_in_one_line(start_workers):
    words = ("--port", "0", "--broker", "nats://127.0.0.1", *AS_APP)
    server = start_workers(*words, wait=False)
    assert server.wait() == 1
    assert server.log == (
        "reverb: NATS needs Twisted's asyncio reactor: twistd --reactor asyncio -n reverb ...\n"
    )


def test_they_speak_tls(start_workers, pem):
    for endpoint in (
        f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}",
        f"tls:{pem.parent}:port=0:interface=127.0.0.1",
    ):
        server = start_workers("--listen", endpoint, *AS_APP, certificate=pem)
        with ExitStack() as open_clients:
            clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
            for client in clients:
                client.subscribe("news")
            publish(server, "news", "secret")
            for client in clients:
                client.hear("secret")
        server.check_empty()
        server.stop()


def test_they_share_a_unix_socket(start_workers, tmp_path):
    path = tmp_path / "reverb.sock"
    server = start_workers("--listen", f"unix:{path}:mode=600", *AS_APP, unix=str(path))
    until_ready(server)
    os.kill(children(server.process.pid)[1], signal.SIGTERM)
    poll("told of", lambda: "exited with code 0; restarting it" in server.log, LONG)
    until_ready(server, 3)
    # A worker that comes and goes leaves the file as it is.
    assert path.stat().st_mode & 0o777 == 0o600
    with Client(server) as client:
        client.subscribe("news")
    server.check_empty()
    server.stop()
    assert not path.exists()


def test_they_share_a_socket_of_systemd(start_workers, listening: socket.socket):
    server = start_workers(*BY_SYSTEMD, **activation(listening))
    assert server.port == listening.getsockname()[1]
    until_ready(server)
    with RawWebSocket(server.connect(), key=APP.key) as client:
        client.expect("pusher:connection_established")


def test_a_test_of_webhooks_finds_what_it_has_sent(start_workers):
    hook = "[[app_defaults.webhooks]]\nurl = 'http://127.0.0.1:9/'\n"
    server = start_workers(more=hook)
    until_ready(server)
    words = ("webhooks", "test", "--url", f"http://127.0.0.1:{server.port}", *AS_APP)
    for number in range(5):
        # What is not taken holds up its own channel only.
        done = subprocess.run(
            [sys.executable, "-m", "reverb", *words, "--channel", f"channel-{number}"],
            capture_output=True,
            env=clean_environment(),
            text=True,
            timeout=LONG,
            check=False,
        )
        assert done.stderr == ""
        assert "1 attempt" in done.stdout
