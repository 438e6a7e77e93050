"""Real servers, and real clients that others wrote."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pusher
import pytest
from e2e_auth import AuthServer
from e2e_node import Clients, Driver
from e2e_programs import HERE, node
from e2e_scaling import connect, nats, nodes, redis, start_node  # noqa: F401 - fixtures
from e2e_server import AS_APP, Server
from e2e_webhooks import node_sdk, receiver  # noqa: F401 - fixtures

from bench.certificate import make_certificate

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that a module's tests share."""
    running = Server(tmp_path_factory.mktemp("server"), "--port", "0", *AS_APP)
    try:
        yield running
        running.stop()
    finally:
        running.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of a test's own; they are stopped and checked after it."""
    servers: list[Server] = []

    def start(*arguments: str, **options: object) -> Server:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        servers.append(Server(directory, *(arguments or ("--port", "0", *AS_APP)), **options))
        return servers[-1]

    try:
        yield start
        for running in servers:
            if running.process.poll() is None:
                running.check_empty()
                running.stop()
    finally:
        for running in servers:
            running.kill()


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that the shared server has forgotten its clients."""
    shared = request.getfixturevalue("server") if "server" in request.fixturenames else None
    yield
    if shared is not None:
        shared.check_empty()
        shared.check_log()


@pytest.fixture
def sdk(server: Server) -> Iterator[pusher.Pusher]:
    """Pusher's Python SDK, as the application's server uses it."""
    with server.sdk_session() as client:
        yield client


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A listening socket to start servers with, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(scope="session")
def auth() -> Iterator[str]:
    """The URL of the application that signs."""
    running = AuthServer()
    yield running.url
    running.close()


@pytest.fixture
def node_environment() -> dict[str, str]:
    """The environment of the JavaScript clients; tests may add to it before they use them."""
    return dict(os.environ)


@pytest.fixture
def clients(
    start_server: StartServer, tmp_path: Path, auth: str, node_environment: dict[str, str]
) -> Iterator[Clients]:
    """JavaScript clients. They are gone before the test's servers are stopped."""
    program = node("pusher-js", "laravel-echo", "tweetnacl", "ws")
    driver = Driver([program, str(HERE / "driver.mjs")], tmp_path, node_environment)
    try:
        yield Clients(driver, auth)
    finally:
        driver.close()


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the key and the certificate of 127.0.0.1, alone in its directory."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(make_certificate())
    return path


@pytest.fixture(params=["ssl", "tls"])
def tls_server(request: pytest.FixtureRequest, start_server: StartServer, pem: Path) -> Server:
    """A server that speaks TLS, by each of Twisted's endpoints for it."""
    endpoints = {
        "ssl": f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}",
        "tls": f"tls:{pem.parent}:port=0:interface=127.0.0.1",
    }
    return start_server("--listen", endpoints[request.param], *AS_APP, certificate=pem)
