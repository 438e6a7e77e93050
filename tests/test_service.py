"""A whole node: start, ordered shutdown, and the API for embedding applications."""

import json

import pytest
import pytest_twisted
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.test.iosim import FakeTransport

from reverb.apps import App, Webhook
from reverb.brokers.local import LocalBroker
from reverb.runtime import Runtime
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.stores.memory import MemoryStore
from reverb.testing import (
    APP,
    HeldBroker,
    MemoryServer,
    WebhookReceiver,
    frame,
    parse_frame,
    upgrade_request,
)
from reverb.webhooks.events import WebhookEvent
from tests.support.exchange import exchange

UPGRADE = upgrade_request("/app/app-key?protocol=7")
SUBSCRIBE = frame(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')


@pytest.fixture
def make_server(servers):
    def make(*apps, parts=None, **settings):
        def service(all_settings, **more):
            return ReverbService(all_settings, **more, **(parts or {}))

        servers.append(MemoryServer(*apps, service=service, **settings))
        return servers[-1]

    return make


class RawConnection:
    """A raw connection to a server in memory."""

    def __init__(self, server):
        self.server = server
        protocol = server.service.factory.buildProtocol(None)
        self.transport = FakeTransport(protocol, isServer=True)
        protocol.makeConnection(self.transport)

    def send(self, data):
        self.transport.protocol.dataReceived(data)
        self.server.settle()
        return self.transport.getOutBuffer() or b""

    def vanish(self):
        self.transport.reportDisconnect()
        self.server.settle()


class SlowBroker(LocalBroker):
    """A broker whose start and stop the test completes."""

    def start(self, deliver):
        super().start(deliver)
        self.starting = Deferred()
        return self.starting

    def stop(self):
        super().stop()
        self.stopping = Deferred()
        return self.stopping


# Start


def test_a_started_node_listens_and_is_ready(server):
    assert server.clock.tcpServers[0][0] == 8080
    assert server.service.unavailable_reason() is None
    assert server.service.running


def test_a_node_serves_clients_but_is_not_ready_without_its_broker(make_server):
    broker = SlowBroker()
    server = make_server(parts={"broker": broker})
    assert "starting" in server.service.unavailable_reason()
    assert server.client().socket_id
    broker.starting.callback(None)
    assert server.service.unavailable_reason() is None
    broker.connected = False
    assert "broker" in server.service.unavailable_reason()
    server.service.stopService()
    server.settle()
    broker.stopping.callback(None)


def test_a_broker_that_does_not_start_is_logged(make_server, log):
    class Broken(LocalBroker):
        def start(self, deliver):
            return fail(RuntimeError("refused"))

    server = make_server(parts={"broker": Broken()})
    assert len(log.problems()) == 1
    assert "starting" in server.service.unavailable_reason()


# Stop


def test_every_client_is_asked_to_reconnect(make_server):
    server = make_server()
    clients = [server.client() for _ in range(5)]
    clients[0].subscribe("news")
    server.stop()
    for client in clients:
        assert client.events[-1]["event"] == "pusher:error"
        assert client.events[-1]["data"]["code"] == client.close_code == 4200
        assert not client.connected


def test_the_parts_stop_in_order(make_server):
    """The order is ports, clients, broker. The node is not ready from the first moment on."""
    broker = SlowBroker()
    server = make_server(parts={"broker": broker})
    broker.starting.callback(None)
    steps = []
    closing = Deferred()
    server.service._ports.stopService = lambda: steps.append("ports") or closing
    client = server.client()
    client.answers_close = False
    stopped = server.service.stopService()
    assert "stopping" in server.service.unavailable_reason()
    server.settle()
    assert steps == ["ports"]
    assert client.close_code is None
    closing.callback(None)
    server.settle()
    assert client.close_code == 4200
    assert not hasattr(broker, "stopping")
    client.send_raw(frame((4200).to_bytes(2), opcode=8))
    assert not client.connected
    assert not stopped.called
    broker.stopping.callback(None)
    assert stopped.called
    assert stopped.result is None
    assert server.clock.getDelayedCalls() == []


def test_the_stop_is_complete_once_all_clients_have_closed(server):
    clients = [server.client() for _ in range(3)]
    stopped = server.service.stopService()
    server.settle()
    assert stopped.called
    assert not any(client.connected for client in clients)


def test_a_client_that_does_not_close_is_disconnected(make_server):
    server = make_server(shutdown_timeout=1)
    hung = server.client()
    hung.answers_close = False
    stopped = server.service.stopService()
    server.settle()
    assert not stopped.called
    server.advance(1)
    assert stopped.called
    assert not hung.connected
    server.assert_empty()


def test_a_client_during_admission_is_asked_to_reconnect(make_server):
    class Slow:
        def by_key(self, key):
            self.asked = Deferred()
            return self.asked

    apps = Slow()
    server = make_server(parts={"apps": apps})
    client = server.client()
    stopped = server.service.stopService()
    server.settle()
    assert client.close_code == 4200
    assert stopped.called
    apps.asked.callback(server.app)
    server.settle()
    server.assert_empty()


@pytest.mark.parametrize("begun", [b"", b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n", UPGRADE[:40]])
def test_an_upgrade_on_an_open_connection_is_refused_during_the_stop(server, begun):
    """A load balancer keeps connections open, and may send an upgrade on one at any time."""
    hung = server.client()
    hung.answers_close = False
    connection = RawConnection(server)
    if begun:
        connection.send(begun)
    stopped = server.service.stopService()
    server.settle()
    answer = connection.send(UPGRADE[40:] if begun == UPGRADE[:40] else UPGRADE)
    assert b"connection_established" not in answer
    assert b"4200" in answer or b" 503 " in answer or connection.transport.disconnecting
    server.advance(server.service.settings.shutdown_timeout + 1)
    connection.vanish()
    # It does not delay the stop either: the hung client is disconnected after the timeout.
    assert stopped.called


def test_an_api_connection_is_closed_at_the_end(server):
    connection = RawConnection(server)
    connection.send(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
    stopped = server.service.stopService()
    server.settle()
    assert stopped.called
    assert connection.transport.disconnecting
    connection.vanish()


@pytest.mark.parametrize("part", ["broker", "ports"])
def test_a_part_that_never_stops_does_not_block_the_stop(make_server, part):
    server = make_server(parts={"broker": SlowBroker()} if part == "broker" else None)
    if part == "ports":
        server.service._ports.stopService = Deferred
    client = server.client()
    stopped = server.service.stopService()
    server.advance(4)
    assert not stopped.called
    server.advance(10)
    assert stopped.called
    assert client.close_code == 4200
    assert server.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["raises", "fails"])
def test_a_failure_to_stop_one_part_is_logged_and_the_others_stop(make_server, log, how):
    class Broken(LocalBroker):
        def stop(self):
            if how == "fails":
                return fail(RuntimeError("no"))
            raise RuntimeError("no")

    server = make_server(parts={"broker": Broken()})
    server.client()
    server.stop()
    assert len(log.problems()) == 1


def test_stopping_twice_stops_once(server):
    client = server.client()
    client.answers_close = False
    first, second = server.service.stopService(), server.service.stopService()
    server.settle()
    assert [e["event"] for e in client.take()] == ["pusher:error"]
    server.advance(server.service.settings.shutdown_timeout + 1)
    assert first.called
    assert second.called
    third = server.service.stopService()
    server.settle()
    assert third.called
    assert server.clock.getDelayedCalls() == []


def test_a_broker_that_starts_during_the_stop_does_not_make_the_node_ready(make_server):
    broker = SlowBroker()
    server = make_server(parts={"broker": broker})
    server.service.stopService()
    broker.starting.callback(None)
    assert "stopping" in server.service.unavailable_reason()
    server.advance(10)


def test_a_running_node_cannot_start_a_second_time(server):
    with pytest.raises(RuntimeError, match="the node is running"):
        server.service.startService()

    assert server.service.unavailable_reason() is None
    assert server.client().socket_id


def test_a_stopping_node_cannot_start(server):
    client = server.client()
    client.answers_close = False
    server.service.stopService()
    with pytest.raises(RuntimeError, match="the node is stopping; it can start when"):
        server.service.startService()
    server.advance(server.service.settings.shutdown_timeout)


def test_a_node_that_has_not_been_started_is_not_ready_and_stops_at_once():
    service = ReverbService(Settings(apps=(APP,)), runtime=Runtime(reactor=MemoryReactorClock()))
    assert "not been started" in service.unavailable_reason()
    assert service.stopService().called


def test_a_bug_in_the_stop_is_logged_and_the_stop_still_ends(server, log):
    def fail_to_abort():
        raise RuntimeError("bug")

    server.service.factory.abort_all = fail_to_abort
    stopped = server.service.stopService()
    server.settle()
    assert stopped.called
    assert len(log.problems()) == 1
    server.advance(0)


def test_publishing_after_the_stop_is_harmless(server):
    server.stop()
    server.service.publish(server.app, ["news"], "event", "data")
    server.settle()


# Replaced parts


def test_broker_store_and_apps_can_be_replaced(make_server):
    broker, other = HeldBroker(), App(id="2", key="other", secret="s")

    class Apps:
        def by_key(self, key):
            return succeed(other if key == "other" else None)

        def by_id(self, app_id):
            return succeed(other if app_id == "2" else None)

    store = MemoryStore(lambda: 0.0)
    server = make_server(parts={"broker": broker, "store": store, "apps": Apps()})
    client = server.client("other")
    client.subscribe("news")
    client.take()
    assert server.client().close_code == 4001
    assert store.connections("2").result == 1
    server.service.publish(other, ["news"], "event", "x")
    server.settle()
    assert client.take() == []
    broker.release()
    server.settle()
    assert [e["data"] for e in client.take()] == ["x"]
    assert server.request("GET", "/apps/2/connections", app=other).json() == {"connections": 1}


# On the real reactor


@pytest.fixture
def real_service(log):
    services = []

    def start(*listen, parent=None, **settings):
        service = ReverbService(Settings(apps=(APP,), listen=listen, **settings))
        services.append(parent or service)
        if parent is not None:
            service.setServiceParent(parent)
        services[-1].privilegedStartService()
        services[-1].startService()
        return service

    yield start
    for service in services:
        if service.running:
            pytest_twisted.blockon(service.stopService())


@pytest_twisted.ensureDeferred
async def test_every_port_serves_clients_and_has_an_address(real_service, tmp_path):
    path = str(tmp_path / "socket")
    service = real_service("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1", f"unix:{path}")
    first, second, _ = service.addresses()
    assert first.host == second.host == "127.0.0.1"
    assert len({first.port, second.port, 0}) == 3
    for address in ((first.host, first.port), (second.host, second.port), path):
        answer = await deferToThread(
            exchange, address, b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n", b"}"
        )
        assert answer.endswith(b'{"health":"OK"}')
        answer = await deferToThread(exchange, address, UPGRADE, b"activity_timeout")
        assert b"pusher:connection_established" in answer
    await service.stopService()
    assert service.addresses() == []
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(exchange, (first.host, first.port), b"", b"x")


@pytest.mark.parametrize("state_dir", ["", "state"])
@pytest_twisted.ensureDeferred
async def test_a_stopped_node_can_start_again(log, state_dir, tmp_path):
    app = App(id="1", key="app-key", secret="s", webhooks=(Webhook(url="http://x"),))
    settings = Settings(
        apps=(app,),
        listen=("tcp:0:interface=127.0.0.1",),
        state_dir=str(tmp_path / state_dir) if state_dir else "",
    )
    receiver = WebhookReceiver()
    service = ReverbService(settings, webhook_transport=receiver)
    seen = []
    service.on(WebhookEvent, lambda event: seen.append(event.name))
    for number in (1, 2, 3):
        service.startService()
        (address,) = service.addresses()
        answer = await deferToThread(
            exchange, (address.host, address.port), UPGRADE + SUBSCRIBE, b"subscription_succeeded"
        )
        assert b"subscription_succeeded" in answer
        while service.unavailable_reason() is not None:
            await wait_briefly()
        await service.stopService()

        names = ["channel_occupied", "channel_vacated"] * number
        assert seen == names
        assert [event["name"] for event in receiver.events] == names


@pytest_twisted.ensureDeferred
async def test_an_application_can_embed_a_node(real_service):
    parent = MultiService()
    service = real_service("tcp:0:interface=127.0.0.1", parent=parent)
    assert service.running
    (address,) = service.addresses()
    call_done = deferToThread(exchange, (address.host, address.port), UPGRADE, b"\x88")
    while not service.hub.sessions:
        await wait_briefly()
    await parent.stopService()
    answer = await call_done
    opcode, payload, _ = parse_frame(answer[answer.index(b"\x88") :])
    assert (opcode, int.from_bytes(payload[:2])) == (8, 4200)
    data = answer[answer.index(b'{"event":"pusher:error"') :].split(b"\x88")[0]
    assert json.loads(data)["data"]["code"] == 4200
    assert not service.running


def wait_briefly():
    from twisted.internet import reactor, task  # noqa: PLC0415

    return task.deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_a_port_in_use_is_an_error_at_the_start(real_service):
    service = real_service("tcp:0:interface=127.0.0.1")
    port = service.addresses()[0].port
    other = ReverbService(Settings(apps=(APP,), listen=(f"tcp:{port}:interface=127.0.0.1",)))
    with pytest.raises(Exception, match="in use"):
        other.privilegedStartService()
