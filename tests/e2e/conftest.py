"""Fixtures: real servers, and third-party clients."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pusher
import pytest

from bench.certificate import make_certificate

from .auth import AuthServer
from .javascript import Clients, Driver
from .programs import HERE, find_node
from .scaling import connect, nats, nodes, redis, start_node  # noqa: F401 - fixtures
from .server import APP_OPTIONS, Server
from .webhooks import node_sdk, receiver  # noqa: F401 - fixtures

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a module share."""
    running = Server(tmp_path_factory.mktemp("server"), "--port", "0", *APP_OPTIONS)
    try:
        yield running
        running.stop()
    finally:
        running.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers for one test; after it they are checked and stopped."""
    servers: list[Server] = []

    def start(*arguments: str, **options: object) -> Server:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        servers.append(Server(directory, *(arguments or ("--port", "0", *APP_OPTIONS)), **options))
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
def check_no_clients_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that the shared server holds no state of its clients."""
    shared = request.getfixturevalue("server") if "server" in request.fixturenames else None
    yield
    if shared is not None:
        shared.check_empty()
        shared.check_log()


@pytest.fixture
def sdk(server: Server) -> Iterator[pusher.Pusher]:
    """Pusher's Python SDK, as an application uses it on its server."""
    with server.sdk_session() as client:
        yield client


@pytest.fixture
def listening_socket() -> Iterator[socket.socket]:
    """A listening socket that servers inherit, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(scope="session")
def auth() -> Iterator[str]:
    """The URL of the application's authorization endpoints."""
    running = AuthServer()
    yield running.url
    running.close()


@pytest.fixture
def node_environment() -> dict[str, str]:
    """The environment of the JavaScript clients; a test may override this fixture."""
    return dict(os.environ)


@pytest.fixture
def clients(
    start_server: StartServer, tmp_path: Path, auth: str, node_environment: dict[str, str]
) -> Iterator[Clients]:
    """JavaScript clients, which are closed before the test's servers are stopped."""
    program = find_node("pusher-js", "laravel-echo", "tweetnacl", "ws")
    driver = Driver([program, str(HERE / "driver.mjs")], tmp_path, node_environment)
    try:
        yield Clients(driver, auth)
    finally:
        driver.close()


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only file of a directory, with the key and the certificate of 127.0.0.1."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(make_certificate())
    return path


@pytest.fixture(params=["ssl", "tls"])
def tls_server(request: pytest.FixtureRequest, start_server: StartServer, pem: Path) -> Server:
    """A TLS server on each of Twisted's two kinds of TLS endpoint."""
    endpoints = {
        "ssl": f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}",
        "tls": f"tls:{pem.parent}:port=0:interface=127.0.0.1",
    }
    return start_server("--listen", endpoints[request.param], *APP_OPTIONS, certificate=pem)
