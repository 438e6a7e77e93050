"""Admission and rejection of clients, and the log lines about them."""

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed

from reverb.apps import App
from reverb.service import ReverbService
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import APP, frame
from tests.support.memory_servers import connections_of

QUERY = "protocol=7&client=js&version=8.6.0"
SUBSCRIBE = frame(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')


def app_with(**changes):
    return msgspec.structs.replace(APP, **changes)


def header(client, name):
    lines = client.handshake.decode().split("\r\n")
    return [line.partition(":")[2].strip() for line in lines if line.lower().startswith(name)]


def test_a_client_receives_connection_established(server):
    client = server.client()
    (greeting,) = client.events
    assert greeting["event"] == "pusher:connection_established"
    data = msgspec.json.decode(greeting["data"])
    assert data == {"socket_id": client.socket_id, "activity_timeout": 120}
    assert client.handshake.startswith(b"HTTP/1.1 101 ")
    assert header(client, "sec-websocket-accept") == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]


def test_the_activity_timeout_is_the_apps(make_server):
    client = make_server(app_with(activity_timeout=7)).client()
    assert msgspec.json.decode(client.events[0]["data"])["activity_timeout"] == 7


@pytest.mark.parametrize("offered", ["pusher-channels-protocol-7", "a, pusher-channels-protocol-7"])
def test_the_subprotocol_is_accepted_when_it_is_offered(server, offered):
    client = server.client(headers={"Sec-WebSocket-Protocol": offered})
    assert header(client, "sec-websocket-protocol") == ["pusher-channels-protocol-7"]
    assert client.socket_id


@pytest.mark.parametrize("headers", [{}, {"Sec-WebSocket-Protocol": "chat"}])
def test_without_the_offer_there_is_no_subprotocol(server, headers):
    client = server.client(headers=headers)
    assert header(client, "sec-websocket-protocol") == []
    assert client.socket_id


def test_no_extension_is_negotiated(server):
    client = server.client(headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert header(client, "sec-websocket-extensions") == []
    assert client.socket_id


@pytest.mark.parametrize("version", ["4", "5", "6", "7"])
def test_old_protocol_versions_are_served(server, version):
    assert server.client(query=f"protocol={version}").socket_id


@pytest.mark.parametrize("query", ["protocol=7", "version=1.2-rc.1%2Bb&protocol=7&flash=false"])
def test_client_and_version_are_optional(server, query):
    assert server.client(query=query).socket_id


def test_the_routes_may_have_a_prefix(make_server):
    server = make_server(path="/realtime")
    assert server.client(path="/realtime/app/").socket_id
    assert server.client(path="/app/").close_code == 4005


def test_a_key_may_be_escaped(make_server):
    server = make_server(app_with(key="k.y"))
    assert server.client("k%2Ey").socket_id


REJECTIONS = {
    "unknown key": (4001, {"key": "wrong"}),
    "disabled": (4003, {"key": "off"}),
    "no key": (4005, {"key": ""}),
    "a slash in the key": (4005, {"key": "app-key%2Fx"}),
    "a path behind the key": (4005, {"key": "app-key/x"}),
    "another path": (4005, {"path": "/", "key": "else"}),
    "a prefix": (4005, {"path": "/x/app/"}),
    "bad version": (4006, {"query": "protocol=7&version=;%20drop"}),
    "bad protocol": (4006, {"query": "protocol=seven"}),
    "signed protocol": (4006, {"query": "protocol=-7"}),
    "digits that are not ASCII": (4006, {"query": "protocol=%D9%A7"}),
    "protocol 3": (4007, {"query": "protocol=3"}),
    "protocol 8": (4007, {"query": "protocol=8"}),
    "a long protocol": (4007, {"query": "protocol=" + "7" * 5000}),
    "origin": (4009, {"key": "strict", "headers": {"Origin": "https://evil.test"}}),
    "no origin": (4009, {"key": "browsers"}),
    "null origin": (4009, {"key": "strict", "headers": {"Origin": "null"}}),
    "broken origin": (4009, {"key": "strict", "headers": {"Origin": "http://[good.test"}}),
}


@pytest.fixture
def strict_server(make_server):
    return make_server(
        APP,
        App(id="2", key="off", secret="s", enabled=False),
        App(id="3", key="strict", secret="s", allowed_origins=("good.test",)),
        App(id="4", key="browsers", secret="s", require_origin=True),
    )


@pytest.mark.parametrize(("code", "how"), REJECTIONS.values(), ids=REJECTIONS)
def test_a_rejected_client_gets_an_error_over_the_websocket(strict_server, log, code, how):
    client = strict_server.client(**how, after=SUBSCRIBE + SUBSCRIBE)
    assert client.handshake.startswith(b"HTTP/1.1 101 ")
    # No message was handled: the client gets one error and one close frame.
    (error,) = client.events
    assert error["event"] == "pusher:error"
    assert set(error) == {"event", "data"}
    assert error["data"]["code"] == client.close_code == code
    message = error["data"]["message"]
    assert message.encode()[:123].decode(errors="ignore") == client.close_reason
    assert not client.connected
    assert not strict_server.service.hub.channels
    assert len(log.lines("rejected ")) == 1
    assert str(code) in log.lines("rejected ")[0]
    assert log.lines("connected ") == log.lines("disconnected ") == []


@pytest.mark.parametrize(
    "query", ["", "protocol=", "client=flutter&version=1.0", "token=abc", "version=1.0.0+12"]
)
def test_a_client_that_names_no_protocol_is_served_as_version_7(make_server, query):
    client = make_server().client(query=query, after=SUBSCRIBE)
    assert [e["event"] for e in client.events] == [
        "pusher:connection_established",
        "pusher_internal:subscription_succeeded",
    ]
    assert "activity_timeout" in client.events[0]["data"]


def test_a_client_with_an_allowed_origin_is_admitted(strict_server):
    assert strict_server.client("strict", headers={"Origin": "https://good.test:8443"}).socket_id


def test_a_client_without_an_origin_is_admitted(strict_server):
    assert strict_server.client("strict").socket_id


@pytest.mark.parametrize("origin", ["null", "file://", "capacitor://localhost", "app://."])
def test_an_origin_that_is_no_web_address_can_be_allowed(make_server, origin):
    server = make_server(app_with(allowed_origins=("good.test", origin)))
    assert server.client(headers={"Origin": origin}).socket_id
    assert server.client(headers={"Origin": "https://evil.test"}).close_code == 4009


def test_a_connection_over_the_quota_is_rejected(make_server):
    server = make_server(app_with(max_connections=2))
    first, second = server.client(), server.client()
    third = server.client(after=SUBSCRIBE)
    assert [e["data"]["code"] for e in third.events] == [4004]
    assert third.close_code == 4004
    first.vanish()
    assert server.client().socket_id
    assert second.connected


def test_a_reason_that_is_too_long_for_a_close_frame_is_truncated(make_server):
    key = "ä" * 90
    client = make_server().client(key.encode("ascii", "namereplace").decode().replace(" ", "+"))
    assert client.close_code == 4001
    client = make_server().client("%C3%A4" * 90)
    assert client.close_code == 4001
    assert len(client.close_reason.encode()) <= 123
    assert client.events[0]["data"]["message"] == f"App key {key} does not exist"


# While the app is looked up


class SlowApps:
    """Answers when the test fires a Deferred in ``lookups``."""

    def __init__(self):
        self.lookups = []

    def by_key(self, key):
        self.lookups.append(Deferred())
        return self.lookups[-1]

    def by_id(self, app_id):
        return succeed(None)


@pytest.fixture
def slow(make_server):
    """Start a server whose apps answer late; return it and the apps."""
    apps = SlowApps()

    def service(settings, **more):
        return ReverbService(settings, apps=apps, **more)

    return make_server(service=service, handshake_timeout=5), apps


def test_messages_before_the_admission_are_handled_after_it(slow):
    server, apps = slow
    client = server.client(after=SUBSCRIBE)
    client.send('{"event":"pusher:ping","data":{}}')
    assert client.events == []
    apps.lookups.pop().callback(server.app)
    server.settle()
    assert [e["event"] for e in client.events] == [
        "pusher:connection_established",
        "pusher_internal:subscription_succeeded",
        "pusher:pong",
    ]


def test_no_message_of_a_client_that_is_rejected_late_is_handled(slow):
    server, apps = slow
    client = server.client(after=SUBSCRIBE)
    apps.lookups.pop().callback(None)
    server.settle()
    assert [e["event"] for e in client.events] == ["pusher:error"]
    assert client.close_code == 4001


def test_nothing_is_left_of_a_client_that_vanishes_while_its_app_is_looked_up(slow, log):
    server, apps = slow
    client = server.client(after=SUBSCRIBE)
    client.vanish()
    apps.lookups.pop().callback(server.app)
    server.settle()
    server.assert_empty()
    assert log.lines("connected ") == []
    assert server.service.sizes()["WebSocket connections"] == 0


def test_a_client_that_is_not_admitted_in_time_is_aborted(slow):
    server, apps = slow
    client = server.client()
    server.advance(4)
    assert client.connected
    server.advance(3)
    assert not client.connected
    apps.lookups.pop().callback(server.app)
    server.settle()
    server.assert_empty()


def test_a_failed_lookup_closes_with_4200(slow, log):
    server, apps = slow
    client = server.client()
    apps.lookups.pop().errback(RuntimeError("the database is down"))
    server.settle()
    assert client.close_code == 4200
    assert "database" not in client.close_reason
    ((_, failure),) = log.problems()
    assert isinstance(failure.value, RuntimeError)


def test_the_messages_queued_during_a_lookup_are_limited(slow):
    server, apps = slow
    client = server.client()
    big = frame(b"x" * 10_000)
    for _ in range(500):
        client.send_raw(big)
    kept = sum(len(c._unread) for c in connections_of(server))
    apps.lookups.pop().callback(server.app)
    assert kept <= 2 * server.service.settings.max_buffered_bytes


class SlowStore(MemoryStore):
    """Completes ``connect`` when the test fires ``admitting``."""

    admitting = None

    def connect(self, app_id, socket_id, limit):
        admitted = super().connect(app_id, socket_id, limit)
        self.admitting = Deferred()
        self.admitting.addCallback(lambda _: admitted)
        return self.admitting


def test_a_client_that_vanishes_during_its_admission_is_not_counted(make_server, log):
    stores = []

    def service(settings, **more):
        stores.append(SlowStore(more["runtime"].reactor.seconds))
        return ReverbService(settings, store=stores[0], **more)

    server = make_server(service=service)
    client = server.client()
    client.vanish()
    stores[0].admitting.callback(None)
    server.settle()
    server.assert_empty()
    assert stores[0].connections(server.app.id).result == 0
    assert log.lines("connected ") == log.lines("disconnected ") == []


# Log lines


def test_one_line_is_logged_on_connect_and_one_on_disconnect(server, log):
    client = server.client()
    client.subscribe("news")
    server.advance(5)
    (line,) = log.lines("connected ")
    assert line == f"connected {client.socket_id} app=app-id peer={line.split('peer=')[1]}"
    client.send_raw(frame((1000).to_bytes(2), opcode=8))
    (line,) = log.lines("disconnected ")
    assert (
        line == f"disconnected {client.socket_id} app=app-id after 5.0 s: the client closed (1000)"
    )


def test_the_reason_of_each_close_is_logged(make_server, log):
    def last():
        return log.lines("disconnected ")[-1].partition(" s: ")[2]

    server = make_server(app_with(ping_interval=5, pong_timeout=2))
    server.client().vanish()
    assert last().startswith("lost: ")
    server.client().send_raw(frame(b"", opcode=8))
    assert last() == "the client closed (no code)"
    server.client().send_raw(frame(b"\xff"))
    assert last().startswith("1007 ")
    server.client().send_raw(frame(b"", opcode=2))
    assert last() == "1003 Binary messages are not supported"
    silent = server.client()
    silent.answers_pings = False
    server.advance(12)
    assert last() == "4201 Pong reply not received"
    server.client()
    server.stop()
    assert last() == "4200 Please reconnect immediately"


def test_apps_may_be_provided_by_the_application(make_server):
    other = App(id="2", key="other", secret="s")

    def service(settings, **more):
        return ReverbService(settings, apps=StaticApps([other]), **more)

    server = make_server(service=service)
    assert server.client("other").socket_id
    assert server.client().close_code == 4001
