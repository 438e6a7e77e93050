"""The API for an application that embeds the server: publish and on."""

from functools import partial

import msgspec
import pytest

from reverb.protocol import notices
from reverb.protocol.events import EventError
from reverb.service import ReverbService
from reverb.testing import APP, HeldBroker


def test_publish_delivers_strings_unchanged_and_other_data_as_json(server):
    client = server.client()
    client.subscribe("news")
    client.take()
    for data in ("text", '{"a":1}', {"a": [1, None]}, [], 5, None, True):
        server.publish("news", "event", data)
    assert [e["data"] for e in client.take()] == [
        "text",
        '{"a":1}',
        '{"a":[1,null]}',
        "[]",
        "5",
        "null",
        "true",
    ]


def test_publish_returns_whether_all_nodes_are_reached(make_server):
    broker = HeldBroker()
    server = make_server(service=partial(ReverbService, broker=broker))

    assert server.service.publish(server.app, ["a", "b"], "event", "x") is True
    broker.connected = False
    assert server.service.publish(server.app, ["a", "b"], "event", "x") is False


def test_publish_reaches_each_channel_once_and_excludes_one_connection(server):
    clients = [server.client(), server.client()]
    for client in clients:
        client.subscribe("a")
        client.subscribe("b")
        client.take()
    server.service.publish(
        server.app, ["a", "b", "a"], "event", "x", socket_id=clients[0].socket_id
    )
    server.settle()
    assert clients[0].take() == []
    assert sorted(e["channel"] for e in clients[1].take()) == ["a", "b"]


def test_publish_reaches_a_user(server):
    client = server.client()
    client.sign_in('{"id":"u"}')
    client.subscribe("#server-to-user-u")
    server.publish("#server-to-user-u", "event", "x")
    assert client.events[-1]["data"] == "x"


@pytest.mark.parametrize(
    ("channels", "event", "data", "socket_id"),
    [
        ([], "event", "x", None),
        (["a b"], "event", "x", None),
        ([f"c{i}" for i in range(101)], "event", "x", None),
        (["news"], "", "x", None),
        (["news"], "x" * 201, "x", None),
        (["news"], "pusher:event", "x", None),
        (["news"], "event", "x" * 10_241, None),
        (["news"], "event", ["x" * 10_240], None),
        (["news"], "event", "x", "12"),
        (["cache-news"], "event", "\ud800", None),
    ],
)
def test_publish_raises_an_error_and_publishes_nothing(server, channels, event, data, socket_id):
    client = server.client()
    client.subscribe("news")
    client.subscribe("cache-news")
    client.take()
    with pytest.raises(EventError) as raised:
        server.service.publish(server.app, channels, event, data, socket_id=socket_id)
    assert str(raised.value)
    server.settle()
    assert client.take() == []


def test_a_callback_receives_every_notice(server):
    received_notices = []
    server.service.on(notices.Notice, received_notices.append)
    client = server.client()
    client.subscribe("presence-x", channel_data='{"user_id":"u"}')
    client.subscribe("cache-x")
    client.send({"event": "client-e", "channel": "presence-x", "data": {"a": 1}})
    socket_id = client.socket_id
    client.vanish()
    assert received_notices[:5] == [
        notices.Connected(app_id="app-id", socket_id=socket_id),
        notices.ChannelOccupied(app_id="app-id", channel="presence-x"),
        notices.MemberAdded(app_id="app-id", channel="presence-x", user_id="u"),
        notices.ChannelOccupied(app_id="app-id", channel="cache-x"),
        notices.CacheMiss(app_id="app-id", channel="cache-x"),
    ]
    assert received_notices[5] == notices.ClientEvent(
        app_id="app-id",
        channel="presence-x",
        event="client-e",
        data='{"a":1}',
        socket_id=socket_id,
        user_id="u",
    )
    assert received_notices[6:] == [
        notices.MemberRemoved(app_id="app-id", channel="presence-x", user_id="u"),
        notices.ChannelVacated(app_id="app-id", channel="presence-x"),
        notices.ChannelVacated(app_id="app-id", channel="cache-x"),
        notices.Disconnected(app_id="app-id", socket_id=socket_id),
    ]


def test_on_calls_back_only_for_its_type_of_notice(server):
    received_notices = []
    server.service.on(notices.Connected, received_notices.append)
    server.client().subscribe("news")
    assert [type(notice) for notice in received_notices] == [notices.Connected]


def test_a_callback_that_raises_affects_nothing_else(server, log):
    received_notices = []

    def broken(notice):
        raise RuntimeError("no")

    server.service.on(notices.Notice, broken)
    server.service.on(notices.Notice, received_notices.append)
    client = server.client()
    client.subscribe("news")
    assert [e["event"] for e in client.events][1:] == ["pusher_internal:subscription_succeeded"]
    assert len(received_notices) == 2
    assert len(log.problems()) == 2
    client.vanish()
    assert len(log.problems()) == 2


def test_a_callback_may_publish(server):
    server.service.on(
        notices.ChannelOccupied,
        lambda notice: server.service.publish(server.app, ["news"], "welcome", notice.channel),
    )
    other = server.client()
    other.subscribe("news")
    other.take()
    server.client().subscribe("second")
    assert [e["data"] for e in other.take()] == ["second"]


def test_subscription_counts_of_a_large_channel(make_server):
    """Above 100 subscribers, both the notice and the message are sent every 5 seconds."""
    server = make_server(msgspec.structs.replace(APP, subscription_counts=True))
    received_notices = []
    server.service.on(notices.SubscriptionCount, received_notices.append)
    clients = [server.subscriber("news") for _ in range(110)]
    server.advance(1)
    clients[0].take()
    assert [notice.count for notice in received_notices] == list(range(1, 102))
    for client in clients[1:6]:
        client.vanish()
    server.advance(5)

    received = [(e["event"], e["channel"], e["data"]) for e in clients[0].take()]
    assert received == [
        ("pusher_internal:subscription_count", "news", '{"subscription_count":105}'),
    ]
    assert received_notices[-1] == notices.SubscriptionCount(
        app_id="app-id", channel="news", count=105
    )
    assert server.get("channels/news", info="subscription_count").json() == {
        "occupied": True,
        "subscription_count": 105,
    }
