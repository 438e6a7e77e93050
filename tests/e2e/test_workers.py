"""A supervisor and its workers: real processes, real sockets and a real Redis."""

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

from tests.support.nats_server import NatsServer
from tests.support.redis_server import RedisServer

from .endpoint import OccupancyEndpoint
from .raw_websocket import CLOSE, RawWebSocket, frame
from .scaling import LEASE, Client, publish
from .server import (
    APP,
    APP_OPTIONS,
    SYSTEMD_OPTIONS,
    TIMEOUT,
    Server,
    clean_environment,
    poll,
    socket_activation,
)

CONNECTIONS = 40
"""Enough connections that each of two workers accepts some, except once in 2 ** 39 runs."""
START_TIMEOUT = 60
"""Seconds for several starts of a process on a busy machine."""
SHORT_HEARTBEAT_TWISTD = """
import functools, runpy, sys
from reverb import tap
tap.WorkerSupervisor = functools.partial(tap.WorkerSupervisor, max_missed_heartbeats=10)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs twistd with a supervisor that waits 10 seconds for a worker's heartbeat."""


def worker_pids(pid: int) -> dict[int, int]:
    """Return the ids of a supervisor's worker processes, by worker number."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # Between fork and exec a child has the command line of its parent.
            if parent == pid and b"reverb.workers.child" in arguments:
                found[int(arguments[-2])] = int(entry.name)
    return found


def is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def have_ended(pids) -> bool:
    return not any(map(is_running, pids))


@pytest.fixture
def start_workers(start_server, redis: RedisServer, tmp_path):
    """Start a supervisor with two workers that share a Redis."""
    config = tmp_path / "workers.toml"

    def start(*arguments: str, extra_config: str = "", **options: object) -> Server:
        url = redis.url("shop")
        config.write_text(f'redis = "{url}"\nredis_lease = {LEASE}\nworkers = 2\n{extra_config}')
        arguments = arguments or ("--port", "0", *APP_OPTIONS)
        return start_server(*arguments, "--config", str(config), **options)

    return start


@pytest.fixture
def workers(start_workers) -> Server:
    server = start_workers("--port", "0", "--metrics-listen", "0", *APP_OPTIONS)
    wait_until_ready(server)
    return server


def wait_until_ready(server: Server, number: int = 2) -> None:
    poll(
        "the workers are ready",
        lambda: server.log.count("connected to Redis") >= number,
        START_TIMEOUT,
    )


def connections_of(server: Server, number: int) -> int:
    """Return the number of one worker's connections, according to its metrics."""
    found = re.findall(rf"\[worker {number}\] serving metrics on 127\.0\.0\.1:(\d+)\n", server.log)
    connection = http.client.HTTPConnection("127.0.0.1", int(found[-1]), timeout=TIMEOUT)
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
    clients = [connect(workers) for _ in range(CONNECTIONS)]
    for client in clients:
        client.subscribe("news")
    return clients


def test_connections_are_spread_and_events_reach_all_workers(workers, crowd):
    one, other = (connections_of(workers, number) for number in (1, 2))
    assert one + other == CONNECTIONS
    assert one > 0
    assert other > 0
    # Each request uses a new connection, which one of the workers accepts.
    for number in range(10):
        publish(workers, "news", number)
    for client in crowd:
        while len(client.received) < 10:
            client.read()
        assert sorted(client.received) == list(range(10))
    assert workers.api_get("/connections") == {"connections": CONNECTIONS}


def test_a_killed_worker_is_restarted_and_the_others_keep_running(workers, crowd, connect):
    before = worker_pids(workers.process.pid)
    survivors = connections_of(workers, 1)
    os.kill(before[2], signal.SIGKILL)
    poll(
        "the end of the worker is logged",
        lambda: "was killed by SIGKILL" in workers.log,
        START_TIMEOUT,
    )
    assert re.search(
        rf"worker 2, process {before[2]}, was killed by SIGKILL; restarting it in 0\.\d s\n",
        workers.log,
    )
    lost = [client for client in crowd if client.has_unread_data()]
    assert len(lost) == CONNECTIONS - survivors
    wait_until_ready(workers, 3)
    after = worker_pids(workers.process.pid)
    assert after.keys() == before.keys()
    assert after[1] == before[1]
    assert after[2] != before[2]
    new_clients = [connect(workers) for _ in range(CONNECTIONS)]
    for client in new_clients:
        client.subscribe("news")
    assert connections_of(workers, 2) > 0
    publish(workers, "news", "again")
    for client in [*new_clients, *(client for client in crowd if client not in lost)]:
        client.assert_received("again")


def test_a_worker_that_hangs_is_killed_and_restarted(start_workers, connect):
    server = start_workers(wrapper=(sys.executable, "-c", SHORT_HEARTBEAT_TWISTD))
    wait_until_ready(server)
    before = worker_pids(server.process.pid)
    os.kill(before[2], signal.SIGSTOP)
    try:
        poll("the worker is killed", lambda: "was killed by SIGKILL" in server.log, START_TIMEOUT)
    finally:
        with suppress(ProcessLookupError):
            os.kill(before[2], signal.SIGCONT)
    log_line = f"worker 2, process {before[2]}, has sent no heartbeat for 10 s; killing it\n"
    assert server.log.count("no heartbeat") == server.log.count(log_line) == 1
    wait_until_ready(server, 3)
    after = worker_pids(server.process.pid)
    assert after.keys() == before.keys()
    assert after[1] == before[1]
    clients = [connect(server) for _ in range(CONNECTIONS)]
    for client in clients:
        client.subscribe("news")
    publish(server, "news", "again")
    for client in clients:
        client.assert_received("again")
        client.socket.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_stops_all_workers(workers, stop):
    processes = worker_pids(workers.process.pid).values()
    assert len(processes) == 2
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(workers)) for _ in range(10)]
        workers.process.send_signal(stop)
        for client in clients:
            expect_reconnect_request(client)
        assert workers.process.wait(START_TIMEOUT) in (0, -stop)
    assert have_ended(processes)
    with pytest.raises(ConnectionRefusedError):
        workers.connect()
    assert "restarting it" not in workers.log
    workers.check_log()


def expect_reconnect_request(client: Client) -> None:
    """Check that the server asks the client to reconnect, and answer its closing handshake."""
    assert client.read_until("pusher:error")["code"] == 4200
    closing = client.next()
    assert (closing.opcode, closing.close_code) == (CLOSE, 4200)
    client.socket.sendall(frame(closing.payload, CLOSE))


def test_the_supervisor_waits_for_its_workers_despite_a_second_signal(workers):
    processes = worker_pids(workers.process.pid)
    os.kill(processes[1], signal.SIGSTOP)
    try:
        workers.terminate()
        poll("worker 2 has ended", lambda: have_ended([processes[2]]), START_TIMEOUT)
        poll("the signal is logged", lambda: "Received SIGTERM" in workers.log)
        workers.terminate()
        poll("a second signal is logged", lambda: "already stopping" in workers.log)
        assert is_running(processes[1])
    finally:
        os.kill(processes[1], signal.SIGCONT)
    assert workers.process.wait(START_TIMEOUT) in (0, -signal.SIGTERM)
    assert have_ended(processes.values())


def test_workers_stop_when_the_supervisor_is_killed(workers):
    processes = worker_pids(workers.process.pid).values()
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(workers)) for _ in range(10)]
        workers.process.kill()
        for client in clients:
            expect_reconnect_request(client)
    poll("the workers have ended", lambda: have_ended(processes), START_TIMEOUT)
    with pytest.raises(ConnectionRefusedError):
        workers.connect()


def test_each_log_line_names_its_worker(workers):
    for number in (1, 2):
        assert f"[worker {number}] listening on 127.0.0.1:{workers.port}\n" in workers.log
        assert f"[worker {number}] connected to Redis at redis://" in workers.log
    for line in workers.log.splitlines():
        assert re.match(r"[\dT:+-]+ \[[^]]+\] |\t", line), line


def test_several_workers_need_a_redis(start_server):
    server = start_server("--port", "0", "--workers", "2", *APP_OPTIONS, wait=False)
    assert server.wait() == 1
    assert server.log == (
        "reverb: --workers: 2 workers need a Redis to act as one server: set --redis too\n"
    )


def test_one_worker_is_a_single_process(start_server):
    server = start_server("--port", "0", "--workers", "1", *APP_OPTIONS)
    assert worker_pids(server.process.pid) == {}
    assert "[worker" not in server.log


def test_a_wrong_redis_password_is_reported_in_one_line(start_server, tmp_path):
    redis = RedisServer(tmp_path, "--requirepass", "right")
    try:
        url = redis.url(credentials=":wrong@")
        server = start_server(
            "--port", "0", "--workers", "2", "--redis", url, *APP_OPTIONS, wait=False
        )
        assert server.wait() == 1
    finally:
        redis.kill()
    assert len(re.findall(r"reverb: Redis at .* cannot be used: WRONGPASS", server.log)) == 1
    assert "[worker" not in server.log
    server.check_log()


def test_a_port_in_use_by_other_workers_is_reported_in_one_line(workers, start_workers):
    second = start_workers("--port", str(workers.port), *APP_OPTIONS, wait=False)
    assert second.wait() == 1
    lines = [line for line in second.log.splitlines() if "cannot listen" in line]
    assert len(lines) == 1
    assert f":{workers.port}: [Errno 98] Address already in use" in lines[0]
    assert "[worker" not in second.log
    second.check_log()


@pytest.fixture
def endpoint():
    running = OccupancyEndpoint()
    yield running
    running.close()


def test_one_worker_sends_the_webhooks_of_all(start_workers, endpoint):
    webhook = f"[[app_defaults.webhooks]]\nurl = '{endpoint.url}'\n[webhooks]\ndebounce = 0\n"
    server = start_workers("--port", "0", *APP_OPTIONS, extra_config=webhook)
    wait_until_ready(server)
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.subscribe("presence-room", f"user{number}")
        occupancy = {("presence-room", None)} | {("presence-room", f"user{n}") for n in range(10)}
        poll("all members are reported", lambda: endpoint.occupied == occupancy)
    poll("all members are reported as removed", lambda: not endpoint.occupied)
    assert server.log.count("this node sends the webhooks of all nodes") == 1
    server.stop()


def test_stopped_workers_report_their_members_as_removed(start_workers, endpoint):
    webhook = f"[[app_defaults.webhooks]]\nurl = '{endpoint.url}'\n[webhooks]\ndebounce = 60\n"
    server = start_workers("--port", "0", *APP_OPTIONS, extra_config=webhook)
    wait_until_ready(server)
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.subscribe("presence-room", f"user{number}")
        poll("all members are reported", lambda: len(endpoint.occupied) == 11)
        server.terminate()
        for client in clients:
            expect_reconnect_request(client)
        assert server.process.wait(START_TIMEOUT) in (0, -signal.SIGTERM)
    assert endpoint.occupied == set()
    server.check_log()


def test_workers_share_events_over_nats(start_workers, tmp_path, connect):
    directory = tmp_path / "nats"
    directory.mkdir()
    nats = NatsServer(directory)
    try:
        options = ("--port", "0", "--broker", nats.url("shop"), *APP_OPTIONS)
        server = start_workers(*options, reactor="asyncio")
        wait_until_ready(server)
        poll(
            "the workers are connected to NATS",
            lambda: server.log.count("connected to NATS") >= 2,
            START_TIMEOUT,
        )
        clients = [connect(server) for _ in range(CONNECTIONS)]
        for client in clients:
            client.subscribe("news")
        publish(server, "news", "headline")
        for client in clients:
            client.assert_received("headline")
            client.socket.close()
        server.check_empty()
        server.stop()
    finally:
        nats.kill()


def test_nats_with_another_reactor_is_reported_in_one_line(start_workers):
    options = ("--port", "0", "--broker", "nats://127.0.0.1", *APP_OPTIONS)
    server = start_workers(*options, wait=False)
    assert server.wait() == 1
    assert server.log == (
        "reverb: NATS needs Twisted's asyncio reactor: twistd --reactor asyncio -n reverb ...\n"
    )


def test_workers_serve_tls(start_workers, pem):
    for endpoint in (
        f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}",
        f"tls:{pem.parent}:port=0:interface=127.0.0.1",
    ):
        server = start_workers("--listen", endpoint, *APP_OPTIONS, certificate=pem)
        with ExitStack() as open_clients:
            clients = [open_clients.enter_context(Client(server)) for _ in range(10)]
            for client in clients:
                client.subscribe("news")
            publish(server, "news", "secret")
            for client in clients:
                client.assert_received("secret")
        server.check_empty()
        server.stop()


def test_workers_share_a_unix_socket(start_workers, tmp_path):
    path = tmp_path / "reverb.sock"
    server = start_workers("--listen", f"unix:{path}:mode=600", *APP_OPTIONS, unix=str(path))
    wait_until_ready(server)
    os.kill(worker_pids(server.process.pid)[1], signal.SIGTERM)
    poll(
        "the end of the worker is logged",
        lambda: "exited with code 0; restarting it" in server.log,
        START_TIMEOUT,
    )
    wait_until_ready(server, 3)
    # Starts and stops of workers do not change the socket file.
    assert path.stat().st_mode & 0o777 == 0o600
    with Client(server) as client:
        client.subscribe("news")
    server.check_empty()
    server.stop()
    assert not path.exists()


def test_workers_share_a_socket_from_systemd(start_workers, listening_socket: socket.socket):
    server = start_workers(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    assert server.port == listening_socket.getsockname()[1]
    wait_until_ready(server)
    with RawWebSocket(server.connect(), key=APP.key) as client:
        client.expect("pusher:connection_established")


def test_the_webhook_test_command_finds_its_delivery_on_any_worker(start_workers):
    webhook = "[[app_defaults.webhooks]]\nurl = 'http://127.0.0.1:9/'\n"
    server = start_workers(extra_config=webhook)
    wait_until_ready(server)
    arguments = ("webhooks", "test", "--url", f"http://127.0.0.1:{server.port}", *APP_OPTIONS)
    for number in range(5):
        # An undelivered event delays only events of its own channel, so each run uses another.
        completed = subprocess.run(
            [sys.executable, "-m", "reverb", *arguments, "--channel", f"channel-{number}"],
            capture_output=True,
            env=clean_environment(),
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )
        assert completed.stderr == ""
        assert "1 attempt" in completed.stdout
