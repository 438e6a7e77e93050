"""What each event adds to the metrics, tested with a whole server."""

import pytest

from reverb.apps import App
from reverb.protocol import messages
from reverb.protocol.frames import text_frame
from reverb.protocol.names import ChannelKind
from reverb.service import ReverbService
from reverb.stores.memory import MemoryStore
from reverb.testing import APP, HeldBroker, MemoryServer, frame, signed_query
from reverb.transport.close_reason import REASONS

OTHER = App(id="other", key="other-key", secret="other-secret")


def app_with(**limits):
    return App(id=APP.id, key=APP.key, secret=APP.secret, **limits)


def publish(server, channel="news", **more):
    return server.request(
        "POST", "/apps/app-id/events", {"name": "e", "channel": channel, "data": "d"} | more
    )


# Connections


def test_an_admitted_connection(server, scrape):
    client = server.client()
    assert (scrape(server)("connections"), scrape(server)("connections_opened_total")) == (1, 1)
    client.vanish()
    assert (scrape(server)("connections"), scrape(server)("connections_opened_total")) == (0, 1)


def close_by_client(server, client):
    client.send_raw(frame((1000).to_bytes(2), opcode=8))


def close_by_app(server, client):
    client.sign_in('{"id":"u"}')
    server.request("POST", "/apps/app-id/users/u/terminate_connections", {})


def stop_answering_pings(server, client):
    client.answers_pings = False
    server.advance(100)


def split_into_empty_fragments(server, client):
    client.send_raw(frame(b"", fin=False) + frame(b"", opcode=0, fin=False) * 20)


CLOSINGS = {
    "client": close_by_client,
    "lost": lambda server, client: client.vanish(),
    "unauthorized": close_by_app,
    "no_pong": stop_answering_pings,
    "reconnect": lambda server, client: client._server.service._websockets.close_all(4200, "x"),
    "over_capacity": lambda server, client: session_of(server).connection.too_slow("x"),
    "protocol_error": lambda server, client: client.send_raw(frame(b"{}", masked=False)),
    "unsupported_data": lambda server, client: client.send_raw(frame(b"{}", opcode=2)),
    "invalid_data": lambda server, client: client.send_raw(frame(b"\xff")),
    "policy_violation": split_into_empty_fragments,
    "message_too_large": lambda server, client: client.send_raw(frame(b"x" * 200_000)),
}


def session_of(server):
    (session,) = server.service.hub.sessions.values()
    return session


def test_every_reason_is_tested():
    assert set(CLOSINGS) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_closed_connection_counts_by_its_reason(server, scrape, reason):
    client = server.client()
    CLOSINGS[reason](server, client)
    server.settle()
    client.vanish()
    seen = scrape(server)
    assert seen.nonzero("connections_closed_total", "reason") == {reason: 1}
    assert seen("slow_clients_disconnected_total") == (reason == "over_capacity")
    assert seen("connections") == 0


def test_a_connection_rejected_by_an_app(make_server, scrape):
    server = make_server(app_with(max_connections=1, allowed_origins=("*", "example.com")))
    server.client()
    assert server.client().close_code == 4004
    assert server.client(query="protocol=7").close_code == 4004
    seen = scrape(server)
    assert seen.nonzero("connections_rejected_total", "code") == {"4004": 2}
    assert seen.nonzero("limit_hits_total", "limit") == {"max_connections": 2}
    assert seen("connections_opened_total") == 1


def test_a_connection_rejected_without_an_app(server, scrape):
    server.client("nobody")
    server.client("nobody-else")
    server.client(query="protocol=x")
    seen = scrape(server)
    assert seen.nonzero("connections_rejected_total", "code", app="") == {"4001": 2, "4006": 1}
    assert {dict(labels).get("app") for _, labels in seen.samples} == {"app-id", "", None}


# Channels


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("news", ChannelKind.PUBLIC),
        ("cache-news", ChannelKind.PUBLIC),
        ("private-a", ChannelKind.PRIVATE),
        ("private-encrypted-a", ChannelKind.ENCRYPTED),
        ("presence-a", ChannelKind.PRESENCE),
        ("#server-to-user-u", ChannelKind.USER),
    ],
)
def test_channels_and_subscriptions_are_counted_by_kind(server, scrape, name, kind):
    clients = [server.client(), server.client()]
    for client in clients:
        client.sign_in('{"id":"u"}')
        client.subscribe(name)
    seen = scrape(server)
    assert seen.nonzero("channels", "kind") == {kind.value: 1}
    assert seen.nonzero("subscriptions", "kind") == {kind.value: 2}
    assert seen("presence_members") == (kind is ChannelKind.PRESENCE)
    clients[0].send({"event": "pusher:unsubscribe", "data": {"channel": name}})
    clients[1].vanish()
    seen = scrape(server)
    assert seen.nonzero("channels", "kind") == seen.nonzero("subscriptions", "kind") == {}
    assert seen("presence_members") == 0


def test_a_user_is_a_member_once_for_each_channel(server, scrape):
    for user in ("1", "1", "2"):
        client = server.client()
        for channel in ("presence-a", "presence-b"):
            client.subscribe(channel, channel_data=f'{{"user_id":"{user}"}}')
    assert scrape(server)("presence_members") == 4


# Messages


def test_messages_from_clients(server, scrape):
    client = server.client()
    client.send(b'{"event":"pusher:ping","data":{}}')
    client.send(b"no JSON")
    assert scrape(server)("messages_received_total") == 2
    assert scrape(server)("received_bytes_total") == 33 + 7


def test_a_message_to_one_client(server, scrape):
    client = server.client()
    before = scrape(server)
    client.send(b'{"event":"pusher:ping","data":{}}')
    after = scrape(server)
    assert (before("messages_sent_total"), after("messages_sent_total")) == (1, 2)
    sent = after("sent_bytes_total") - before("sent_bytes_total")
    assert sent == len(text_frame(messages.PONG))


def test_publications_to_several_subscribers(server, scrape):
    clients = [server.client() for _ in range(3)]
    for client in clients:
        client.subscribe("news")
    before = scrape(server)
    for _ in range(2):
        server.service.publish(server.app, ["news"], "e", "d", socket_id=clients[0].socket_id)
    server.service.publish(server.app, ["news"], "e", "d")
    server.service.publish(server.app, ["nobody"], "e", "d")
    server.settle()
    after = scrape(server)
    size = len(text_frame(b'{"event":"e","channel":"news","data":"d"}'))
    assert after("messages_sent_total") - before("messages_sent_total") == 2 + 2 + 3
    assert after("sent_bytes_total") - before("sent_bytes_total") == 7 * size
    assert after("fanout_subscribers_sum") == 7
    assert after("fanout_subscribers_count") == 4
    assert after("fanout_subscribers_bucket", le="0") == 1
    assert after("fanout_subscribers_bucket", le="2") == 3
    assert after("fanout_subscribers_bucket", le="5") == 4


def test_latency_is_counted_for_each_publication_with_a_subscriber(server, scrape):
    server.client().subscribe("news")
    for _ in range(3):
        server.service.publish(server.app, ["news"], "e", "d")
    server.service.publish(server.app, ["nobody"], "e", "d")
    server.clock.rightNow += 0.25  # The reactor was busy with other work.
    server.settle()
    seen = scrape(server)
    assert seen("publish_latency_seconds_count") == 3
    assert seen("publish_latency_seconds_sum") == pytest.approx(0.75)
    assert seen("publish_latency_seconds_bucket", le="0.1") == 0
    assert seen("publish_latency_seconds_bucket", le="0.5") == 3


def test_sent_bytes_are_counted_after_compression(make_server, scrape):
    server = make_server(compression=True, compression_min_bytes=1)
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    clients = [server.client(headers=offer), server.client()]
    for client in clients:
        client.pump = lambda: False  # The test client cannot read compressed frames.
    for session in list(server.service.hub.sessions.values()):
        session.receive(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')
    before = scrape(server)
    server.service.publish(server.app, ["news"], "e", "d" * 5_000)
    server.settle()
    sent = scrape(server)("sent_bytes_total") - before("sent_bytes_total")
    assert 5_000 < sent < 6_000
    for client in clients:
        client.vanish()


# Publications


def test_publications_are_counted_by_source(server, scrape):
    one, other = server.client(), server.client()
    for client, user in ((one, "1"), (other, "2")):
        client.subscribe("presence-a", channel_data=f'{{"user_id":"{user}"}}')
    one.send({"event": "client-x", "channel": "presence-a", "data": "{}"})
    other.vanish()
    publish(server)
    publish(server, channel=None, channels=["a", "b"])
    batch = [{"name": "e", "channel": "c", "data": "d"}] * 2
    server.request("POST", "/apps/app-id/batch_events", {"batch": batch})
    server.publish("news", "e", "d")
    assert scrape(server).nonzero("publications_total", "source") == {
        "api": 5,
        "application": 1,
        "client": 1,
        "presence": 3,
    }


# Refusals


def test_errors_are_counted_by_code(make_server, scrape):
    server = make_server(app_with(client_events_per_second=1))
    client = server.client()
    client.subscribe("private-a")
    for _ in range(3):
        client.send({"event": "client-x", "channel": "private-a", "data": "{}"})
    client.send(b"no JSON")
    seen = scrape(server)
    assert seen.nonzero("errors_total", "code") == {"4301": 2, "0": 1}
    assert seen.nonzero("limit_hits_total", "limit") == {"client_events_per_second": 2}


@pytest.mark.parametrize("auth", ["", "app-key", "other:signature", "app-key:signature"])
def test_a_subscription_with_a_wrong_signature(server, scrape, auth):
    client = server.client()
    data = {"channel": "private-a", "auth": auth}
    client.send({"event": "pusher:subscribe", "data": data})
    assert scrape(server).nonzero("auth_failures_total", "kind") == {"subscription": 1}


def test_a_sign_in_with_a_wrong_signature(server, scrape):
    data = {"auth": "app-key:signature", "user_data": "{}"}
    server.client().send({"event": "pusher:signin", "data": data})
    assert scrape(server).nonzero("auth_failures_total", "kind") == {"signin": 1}


def test_a_request_with_a_wrong_signature(server, scrape):
    query = signed_query(OTHER, "GET", "/apps/app-id/channels", {}, b"", server.now())
    server.request("GET", "/apps/app-id/channels", query=query, sign=False)
    server.request("GET", "/apps/app-id/channels", sign=False)
    server.request("GET", "/apps/nobody/channels", sign=False)
    seen = scrape(server)
    assert seen.nonzero("auth_failures_total", "kind") == {"api": 2}
    assert seen.nonzero("http_responses_total", "status", app=None) == {
        "400": 1,
        "401": 1,
        "404": 1,
    }
    assert {dict(labels).get("app") for _, labels in seen.samples} == {"app-id", None}


def test_reached_limits(make_server, scrape):
    server = make_server(
        app_with(max_channels_per_connection=1, max_presence_members=1, api_requests_per_second=1)
    )
    one, other = server.client(), server.client()
    one.subscribe("presence-a", channel_data='{"user_id":"1"}')
    one.subscribe("news")
    other.subscribe("presence-a", channel_data='{"user_id":"2"}')
    statuses = [publish(server).status for _ in range(2)]
    assert statuses == [200, 429]
    one.send("x" * 20_000)
    assert scrape(server).nonzero("limit_hits_total", "limit") == {
        "max_channels_per_connection": 1,
        "max_message_bytes": 1,
        "max_presence_members": 1,
        "api_requests_per_second": 1,
    }


def test_a_request_refused_before_it_is_complete(server, scrape):
    server.exchange(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")
    assert scrape(server).nonzero("http_responses_total", "status", app=None) == {"431": 1}


# The node


def test_apps_are_counted_separately(make_server, scrape):
    server = make_server(APP, OTHER)
    server.client(OTHER.key).subscribe("news", app=OTHER)
    seen = scrape(server)
    assert (seen("connections"), seen("connections", app="other")) == (0, 1)
    assert (
        seen("subscriptions", kind="public"),
        seen.nonzero("subscriptions", "kind", "other"),
    ) == (
        0,
        {"public": 1},
    )


def test_the_state_of_the_node_the_broker_and_the_store(make_server, scrape):
    broker, stores = HeldBroker(), []

    def service(settings, **more):
        stores.append(MemoryStore(more["runtime"].reactor.seconds))
        return ReverbService(settings, broker=broker, store=stores[0], **more)

    server = make_server(service=service)
    parts = ("ready", "broker_connected", "store_connected")
    assert [scrape(server)(part, app="") for part in parts] == [1, 1, 1]
    broker.connected = stores[0].connected = False
    assert [scrape(server)(part, app="") for part in parts] == [0, 0, 0]


def test_the_lag_of_the_event_loop(server, scrape):
    def lags():
        return [scrape(server)(f"event_loop_lag_{n}", app="") for n in ("seconds", "max_seconds")]

    assert lags() == [0, 0]
    server.clock.advance(1.25)
    assert lags() == pytest.approx([0.25, 0.25])
    server.clock.advance(0.75)
    assert lags() == pytest.approx([0, 0.25])
    server.advance(60)
    assert lags() == pytest.approx([0, 0])


def test_metrics_of_the_process(server, scrape):
    names = {name for name, _ in scrape(server).samples}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= names
    assert {"process_open_fds", "python_info", "python_gc_collections_total"} <= names


def test_clients_receive_the_same_with_and_without_metrics():
    taken = []
    for listen in ((), ("tcp:9100",)):
        server = MemoryServer(metrics_listen=listen)
        one, other = server.client(), server.client()
        for client in (one, other):
            client.subscribe("private-a")
        one.send({"event": "client-x", "channel": "private-a", "data": "{}"})
        publish(server, "private-a")
        one.send(b"no JSON")
        taken.append([client.events[1:] for client in (one, other)])
        server.stop()
    assert taken[0] == taken[1]
