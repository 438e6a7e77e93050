"""The metrics listener: its endpoints, its start and its stop."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.test.iosim import FakeTransport

from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing import APP, MemoryServer
from tests.support.exchange import exchange

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_without_an_endpoint_nothing_is_measured():
    server = MemoryServer()
    client = server.client()
    client.subscribe("news")
    server.publish("news", "event", "data")
    assert server.service.metrics is None
    assert [session.meter for session in server.service.hub.sessions.values()] == [None]
    assert [channel.meter for channel in server.service.hub.channels.values()] == [None]
    assert len(server.clock.tcpServers) == 1
    client.vanish()
    server.stop()


def test_metrics_have_a_separate_port(server):
    assert [(port, host) for port, _, _, host in server.clock.tcpServers] == [
        (8080, "127.0.0.1"),
        (9100, "127.0.0.1"),
    ]


def test_metrics_are_served_while_the_clients_disconnect(server, scrape):
    client = server.client()
    client.answers_close = False
    stopped = server.service.stopService()
    server.settle()
    assert scrape(server)("connections") == 1
    assert scrape(server)("ready", app="") == 0
    server.advance(server.service.settings.shutdown_timeout + 5)
    assert stopped.called


def test_open_connections_are_aborted_at_the_stop(server):
    connection = server.service.metrics.factory.buildProtocol(None)
    transport = FakeTransport(connection, isServer=True)
    connection.makeConnection(transport)
    connection.dataReceived(REQUEST)
    stopped = server.service.stopService()
    server.settle()
    assert transport.disconnecting
    transport.reportDisconnect()
    assert stopped.called


def test_a_listener_that_never_stops_cannot_hang_the_stop(server):
    server.service.metrics.stopService = Deferred
    stopped = server.service.stopService()
    server.advance(4)
    assert not stopped.called
    server.advance(2)
    assert stopped.called


@pytest.fixture
def real_service(log):
    services = []

    def start(**settings):
        services.append(
            ReverbService(Settings(apps=(APP,), listen=("tcp:0:interface=127.0.0.1",), **settings))
        )
        services[-1].privilegedStartService()
        services[-1].startService()
        return services[-1]

    yield start
    for service in services:
        if service.running:
            pytest_twisted.blockon(service.stopService())


@pytest_twisted.ensureDeferred
async def test_every_endpoint_serves_until_the_stop(real_service, tmp_path, log):
    path = str(tmp_path / "metrics.sock")
    service = real_service(metrics_listen=("tcp:0:interface=127.0.0.1", f"unix:{path}"))
    tcp, unix = log.lines("serving metrics on ")
    address = "127.0.0.1", int(tcp.rpartition(":")[2])
    assert unix == f"serving metrics on unix:{path}"
    assert len(service.addresses()) == 1
    for where in (address, path):
        answer = await deferToThread(exchange, where, REQUEST, b"python_gc_collections_total")
        assert b"reverb_connections" in answer
    await service.stopService()
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(exchange, address, b"", b"x")


@pytest_twisted.ensureDeferred
async def test_a_service_that_starts_again_serves_again(real_service):
    service = real_service(metrics_listen=("tcp:0:interface=127.0.0.1",))
    await service.stopService()
    service.privilegedStartService()
    service.startService()
    assert service.running
