"""Fixtures: real servers, and third-party clients."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pusher
import pytest

from bench.certificate import make_certificate
from tests.support.nats_server import NatsServer
from tests.support.redis_server import RedisServer

from .auth import AuthServer
from .javascript import Clients, Driver
from .programs import HERE, find_node
from .scaling import LEASE, Client, is_ready
from .server import APP, APP_OPTIONS, Server, poll
from .webhooks import NodeSdk, Receiver

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


@pytest.fixture
def redis(own_redis: RedisServer) -> RedisServer:
    """The Redis that the nodes of a test share, and that the test may stop."""
    return own_redis


@pytest.fixture
def nats(own_nats: NatsServer) -> NatsServer:
    """The NATS that the nodes of a test share, and that the test may stop."""
    return own_nats


@pytest.fixture
def start_node(
    request: pytest.FixtureRequest, tmp_path: Path, start_server: Callable[..., Server]
) -> StartServer:
    config = tmp_path / "reverb.toml"

    def start(
        *,
        redis_url: str = "",
        broker: str = "",
        wait: bool = True,
        extra_config: str = "",
        webhook: str = "",
    ) -> Server:
        redis_url = redis_url or request.getfixturevalue("redis").url("shop")
        app: tuple[str, ...] = APP_OPTIONS
        if webhook:  # Only the file can configure an app with webhooks.
            app = ()
            extra_config += (
                f"[[apps]]\nid = '{APP.id}'\nkey = '{APP.key}'\nsecret = '{APP.secret}'\n"
            )
            extra_config += f"[[apps.webhooks]]\nurl = '{webhook}'\n"
        config.write_text(
            f'redis = "{redis_url}"\nbroker = "{broker}"\nredis_lease = {LEASE}\n{extra_config}'
        )
        reactor = "asyncio" if broker else ""
        server = start_server("--port", "0", "--config", str(config), *app, reactor=reactor)
        if wait:
            poll("the node is ready", lambda: is_ready(server))
        return server

    return start


@pytest.fixture
def nodes(start_node: StartServer) -> tuple[Server, Server]:
    return start_node(), start_node()


@pytest.fixture
def connect() -> Iterator[Callable[[Server], Client]]:
    clients: list[Client] = []

    def connect(server: Server) -> Client:
        clients.append(Client(server))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


@pytest.fixture(scope="module")
def node_sdk() -> Iterator[NodeSdk]:
    sdk = NodeSdk()
    yield sdk
    sdk.close()


@pytest.fixture
def receiver(node_sdk: NodeSdk) -> Iterator[Receiver]:
    running = Receiver(node_sdk)
    yield running
    running.close()
    assert running.problems == []
