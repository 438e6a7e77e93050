"""Publishing: POST /events, /batch_events and the deprecated route of a channel."""

import json
from functools import partial

import msgspec
import pytest
from twisted.internet.defer import Deferred

from reverb.brokers.local import LocalBroker
from reverb.service import ReverbService
from reverb.testing import APP, HeldBroker

EVENT = {"name": "event", "channel": "news", "data": "x"}


def error(response):
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def received(client):
    return [(e["event"], e["channel"], e["data"]) for e in client.take()]


@pytest.fixture
def client(server):
    return server.subscriber("news", "olds")


def test_an_event_reaches_its_channel(server, client):
    response = server.post("events", EVENT)
    assert (response.status, response.body) == (200, b"{}")
    assert response.headers["content-type"] == "application/json"
    assert client.take() == [{"event": "event", "channel": "news", "data": "x"}]


def test_an_event_reaches_all_its_channels_once(server, client):
    channels = ["news", "olds", "news", "nobody"]
    response = server.post("events", {"name": "e", "channels": channels, "data": "x"})
    assert response.body == b"{}"
    assert sorted(received(client)) == [("e", "news", "x"), ("e", "olds", "x")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('"text"', "text"),
        ('""', ""),
        (r'"{\"a\":1}"', '{"a":1}'),
        ('{"a": 1,  "b":[]}', '{"a": 1,  "b":[]}'),
        ("{}", "{}"),
        ("[1,2]", "[1,2]"),
        ("12.50", "12.50"),
        ("true", "true"),
        (r'"\u0000\ud83d\ude00"', "\0😀"),
        ('"\\\\"', "\\"),
    ],
)
def test_data_is_delivered_as_a_string(server, client, data, text):
    body = f'{{"name":"e","channel":"news","data":{data}}}'.encode()
    assert server.post("events", body).status == 200
    assert received(client) == [("e", "news", text)]


@pytest.mark.parametrize("name", ["App\\Events\\X", "a b.c", "ünïcode", "x" * 200, "pusher", "\0"])
def test_an_events_name_is_free_form(server, client, name):
    assert server.post("events", {**EVENT, "name": name}).status == 200
    assert received(client) == [(name, "news", "x")]


@pytest.mark.parametrize(
    "channel",
    ["private-x", "presence-x", "private-encrypted-x", "cache-x", "#server-to-user-u", "x" * 200],
)
def test_every_kind_of_channel_may_be_published_to(server, channel):
    assert server.post("events", {**EVENT, "channel": channel}).status == 200


BAD = {
    "no name": {"channel": "news", "data": "x"},
    "no data": {"name": "e", "channel": "news"},
    "null data": {"name": "e", "channel": "news", "data": None},
    "no channel": {"name": "e", "data": "x"},
    "null channels": {"name": "e", "data": "x", "channel": None, "channels": None},
    "both": {**EVENT, "channels": ["news"]},
    "no channels": {"name": "e", "data": "x", "channels": []},
    "too many channels": {"name": "e", "data": "x", "channels": [f"c{i}" for i in range(101)]},
    "channels is a string": {"name": "e", "data": "x", "channels": "news"},
    "channel is a list": {**EVENT, "channel": ["news"]},
    "a channel is a number": {"name": "e", "data": "x", "channels": ["news", 1]},
    "empty channel": {**EVENT, "channel": ""},
    "bad channel": {**EVENT, "channel": "a b"},
    "colon in a channel": {**EVENT, "channel": "a:b"},
    "newline in a channel": {**EVENT, "channel": "news\n"},
    "unicode digits in a channel": {**EVENT, "channel": "news٣"},
    "one of the channels is bad": {"name": "e", "data": "x", "channels": ["news", "a/b"]},
    "other channel with a hash": {**EVENT, "channel": "#private"},
    "long channel": {**EVENT, "channel": "x" * 201},
    "empty name": {**EVENT, "name": ""},
    "null name": {**EVENT, "name": None},
    "name is a number": {**EVENT, "name": 5},
    "long name": {**EVENT, "name": "x" * 201},
    "reserved name": {**EVENT, "name": "pusher:subscribe"},
    "internal name": {**EVENT, "name": "pusher_internal:member_added"},
    "bad socket id": {**EVENT, "socket_id": "12"},
    "socket id with a letter": {**EVENT, "socket_id": "1.2a"},
    "socket id with a newline": {**EVENT, "socket_id": "1.2\n"},
    "socket id is a number": {**EVENT, "socket_id": 1.2},
    "unknown info": {**EVENT, "info": "user_count,members"},
    "cache is no info here": {**EVENT, "info": "cache"},
    "info is a list": {**EVENT, "info": ["user_count"]},
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_an_invalid_event_is_refused_and_not_published(server, client, body):
    response = server.post("events", body)
    assert response.status == 400
    assert error(response)
    assert client.take() == []
    batch = server.post("batch_events", {"batch": [EVENT, body]})
    assert batch.status == 400
    assert "1" in error(batch)
    assert client.take() == []


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b'"text"',
        b"null",
        b"1",
        b"{",
        b'{"name":"e"',
        b"\xff",
        b"{}",
        b'{"a":"\xff"}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"name":"e","channel":"news","data":[1,]}',
        b'{"name":"e","channel":"news","data":"\\ud800"}',
        b'{"name":"e","channel":"news","data":{"a":"\xff"}}',
        b'{"name":"e","channel":"news","data":nul}',
    ],
)
@pytest.mark.parametrize("route", ["events", "batch_events"])
def test_a_body_that_is_not_such_json_is_refused(server, client, route, body):
    response = server.post(route, body)
    assert response.status == 400
    assert error(response)
    assert client.take() == []


# The nesting limit of the decoder differs between versions of Python.
@pytest.mark.parametrize(
    ("depth", "statuses"), [(100, {200}), (5000, {200, 400}), (100_000, {200, 400, 413})]
)
def test_deep_nesting_is_accepted_or_refused_but_never_fatal(server, client, depth, statuses):
    nested = "[" * depth + "]" * depth
    body = f'{{"name":"e","channel":"news","data":{nested}}}'.encode()
    assert server.post("events", body).status in statuses
    body = f'{{"name":"e","channel":"news","data":"x","more":{nested}}}'.encode()
    assert server.post("events", body).status in statuses


def test_unknown_keys_and_duplicate_keys_are_no_error(server, client):
    body = b'{"name":"no","name":"e","data":"x","channel":"news","more":{"a":[1]}}'
    assert server.post("events", body).status == 200
    assert received(client) == [("e", "news", "x")]


# Sizes


@pytest.mark.parametrize("data", ["x" * 10_240, "ä" * 5120])
def test_data_may_have_the_full_size(server, client, data):
    assert server.post("events", {**EVENT, "data": data}).status == 200
    assert received(client) == [("event", "news", data)]


@pytest.mark.parametrize("data", ["x" * 10_241, "ä" * 5121, {"a": "x" * 10_233}])
def test_data_that_is_too_large_is_413(server, client, data):
    for route, body in (
        ("events", {**EVENT, "data": data}),
        ("batch_events", {"batch": [EVENT, {**EVENT, "data": data}]}),
    ):
        response = server.post(route, body)
        assert response.status == 413
        assert "10240 bytes" in error(response)
    assert client.take() == []


def test_the_size_limit_applies_to_the_data_not_its_json(server, client):
    assert server.post("events", {**EVENT, "data": '"' * 10_240}).status == 200


def test_each_app_has_its_own_limits(make_server, app_with):
    app = app_with(
        max_event_bytes=5,
        max_channels_per_event=2,
        max_batch_events=1,
        max_channel_name=4,
        max_event_name=6,
    )
    server = make_server(app)
    assert server.post("events", {**EVENT, "data": "x" * 5}).status == 200
    assert server.post("events", {**EVENT, "data": "x" * 6}).status == 413
    assert server.post("events", {"name": "e", "data": "x", "channels": list("aab")}).status == 200
    assert server.post("events", {"name": "e", "data": "x", "channels": list("abc")}).status == 400
    assert server.post("batch_events", {"batch": [EVENT] * 2}).status == 400
    assert server.post("events", {**EVENT, "channel": "newsx"}).status == 400
    assert server.post("events", {**EVENT, "name": "eventxx"}).status == 400


def test_zero_is_no_limit(make_server, app_with):
    app = app_with(max_event_bytes=0, max_channels_per_event=0, max_batch_events=0)
    server = make_server(app)
    assert server.post("events", {**EVENT, "data": "x" * 500_000}).status == 200
    assert (
        server.post(
            "events", {"name": "e", "data": "x", "channels": [f"c{i}" for i in range(300)]}
        ).status
        == 200
    )
    assert server.post("batch_events", {"batch": [EVENT] * 50}).status == 200


# Exclusion


def test_socket_id_excludes_one_connection_on_every_channel(server, client):
    other = server.subscriber("news", "olds")
    body = {"name": "e", "channels": ["news", "olds"], "data": "x", "socket_id": client.socket_id}
    assert server.post("events", body).status == 200
    assert client.take() == []
    assert len(other.take()) == 2


@pytest.mark.parametrize("socket_id", ["1.1", "999999999999999999.1", "", None])
def test_an_unknown_or_empty_socket_id_excludes_no_connection(server, client, socket_id):
    assert server.post("events", {**EVENT, "socket_id": socket_id}).status == 200
    assert len(client.take()) == 1


# Info


@pytest.fixture
def crowd(server):
    """Two users with three connections on presence-x, and two connections on news."""
    for user in ("1", "1", "2"):
        client = server.client()
        client.subscribe("presence-x", channel_data=json.dumps({"user_id": user}))
    server.subscriber("news")
    server.subscriber("news")
    return server


def test_info_contains_the_attributes_that_apply_to_each_channel(crowd):
    body = {
        "name": "e",
        "data": "x",
        "channels": ["news", "presence-x", "news", "empty"],
        "info": "user_count, subscription_count",
    }
    assert crowd.post("events", body).json() == {
        "channels": {
            "news": {"subscription_count": 2},
            "presence-x": {"user_count": 2, "subscription_count": 3},
            "empty": {"subscription_count": 0},
        }
    }


def test_info_that_applies_to_no_channel_is_an_empty_object(crowd):
    response = crowd.post("events", {**EVENT, "info": "user_count"})
    assert response.body == b'{"channels":{"news":{}}}'


def test_empty_info_requests_nothing(server):
    assert server.post("events", {**EVENT, "info": ""}).body == b"{}"
    assert server.post("events", {**EVENT, "info": None}).body == b"{}"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("events", {"name": "e", "channels": ["a", "b", "c"], "data": "x", "info": "user_count"}),
        ("batch_events", {"batch": [{**EVENT, "channel": c, "info": "user_count"} for c in "abc"]}),
    ],
)
def test_the_store_is_asked_for_all_channels_at_once(server, signed, monkeypatch, route, body):
    requested = []

    def counts(app_id, channel):
        requested.append(channel)
        return Deferred()

    monkeypatch.setattr(server.service._store, "counts", counts)
    path, data = f"/apps/{APP.id}/{route}", msgspec.json.encode(body)
    query = "&".join(f"{k}={v}" for k, v in signed(server, "POST", path, data).items())
    head = f"POST {path}?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"

    assert server.exchange(head.encode() + data) == b""
    assert requested == ["a", "b", "c"]


# The Reverb-Reached header


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("events", EVENT),
        ("events", {**EVENT, "info": "subscription_count"}),
        ("batch_events", {"batch": [EVENT]}),
        ("channels/news/events", b"x"),
        ("users/ann/terminate_connections", b""),
    ],
)
def test_a_header_says_that_only_this_node_is_reached(make_server, route, body):
    broker = HeldBroker()
    server = make_server(service=partial(ReverbService, broker=broker))
    assert "reverb-reached" not in server.post(route, body, name="e").headers

    broker.connected = False
    response = server.post(route, body, name="e")

    assert response.status == 200
    assert response.headers["reverb-reached"] == "this-node"


class RestrictedBroker(LocalBroker):
    """Sends only small messages of the channel ``news`` to other nodes."""

    def publish(self, envelope):
        super().publish(envelope)
        return envelope.channel == "news" and len(envelope.payload) < 100


LARGE = {**EVENT, "data": "x" * 100}


@pytest.mark.parametrize(
    ("route", "body", "reached"),
    [
        ("events", EVENT, None),
        ("events", LARGE, "this-node"),
        ("events", {**LARGE, "info": "subscription_count"}, "this-node"),
        ("events", {"name": "e", "data": "x", "channels": ["olds", "news"]}, "this-node"),
        ("batch_events", {"batch": [EVENT, EVENT]}, None),
        ("batch_events", {"batch": [LARGE, EVENT]}, "this-node"),
    ],
)
def test_the_header_is_sent_if_it_applies_to_any_event(make_server, route, body, reached):
    server = make_server(service=partial(ReverbService, broker=RestrictedBroker()))
    client = server.subscriber("news", "olds")

    response = server.post(route, body)

    assert (response.status, response.headers.get("reverb-reached")) == (200, reached)
    assert len(received(client)) == len(body.get("batch", body.get("channels", [1])))


# Batches


def test_a_batch_is_published_in_order(server, client):
    batch = [{**EVENT, "data": str(i)} for i in range(10)]
    response = server.post("batch_events", {"batch": batch})
    assert (response.status, response.body) == (200, b"{}")
    assert [data for _, _, data in received(client)] == [str(i) for i in range(10)]


def test_an_empty_batch_is_no_error(server):
    assert server.post("batch_events", {"batch": []}).body == b"{}"


def test_the_response_to_a_batch_has_the_order_of_its_events(crowd):
    batch = [
        EVENT,
        {**EVENT, "channel": "presence-x", "info": "user_count"},
        {**EVENT, "info": "user_count"},
        {**EVENT, "info": "subscription_count"},
    ]
    response = crowd.post("batch_events", {"batch": batch})
    assert response.json() == {"batch": [{}, {"user_count": 2}, {}, {"subscription_count": 2}]}


def test_each_event_of_a_batch_has_its_own_exclusion(server, client):
    other = server.subscriber("news")
    batch = [{**EVENT, "socket_id": client.socket_id, "data": "1"}, {**EVENT, "data": "2"}]
    server.post("batch_events", {"batch": batch})
    assert [data for _, _, data in received(client)] == ["2"]
    assert [data for _, _, data in received(other)] == ["1", "2"]


def test_a_batch_of_too_many_events_is_refused(server, client):
    response = server.post("batch_events", {"batch": [EVENT] * 11})
    assert response.status == 400
    assert error(response).startswith("Batch too large")
    assert client.take() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batch": {}},
        {"batch": None},
        {"batch": "x"},
        {"batch": ["x"]},
        {"batch": [[]]},
        EVENT,
        [EVENT],
    ],
)
def test_a_malformed_batch_is_refused(server, client, body):
    assert server.post("batch_events", body).status == 400
    assert client.take() == []


def test_an_event_of_a_batch_has_one_channel(server, client):
    batch = [{"name": "e", "data": "x", "channels": ["news"]}]
    assert server.post("batch_events", {"batch": batch}).status == 400


def test_an_empty_batch_body_is_refused(server):
    assert server.post("batch_events").status == 400


# Events in the query, and the deprecated route


def test_an_event_may_be_in_the_query(server, signed, client):
    path = "/apps/app-id/events"
    parameters = signed(server, "POST", path, name="e", data="x y", channels="news,olds")
    rest = "&".join(f"{k}={v}" for k, v in parameters.items() if k not in ("channels", "data"))
    query = f"channels[]=news&channels[]=olds&data=x%20y&{rest}"
    response = server.raw("POST", path, query)
    assert (response.status, response.body) == (200, b"{}")
    assert received(client) == [("e", "news", "x y"), ("e", "olds", "x y")]


def test_an_event_for_one_channel_may_be_in_the_query(server, client):
    query = {"name": "e", "data": "x", "channel": "news", "info": "subscription_count"}
    response = server.post("events", **query)
    assert response.json() == {"channels": {"news": {"subscription_count": 1}}}
    assert received(client) == [("e", "news", "x")]


@pytest.mark.parametrize(
    "query", [{}, {"name": "e"}, {"name": "e", "data": "x"}, {"name": "e", "channel": "news"}]
)
def test_an_empty_body_without_an_event_in_the_query_is_refused(server, query):
    response = server.post("events", **query)
    assert response.status == 400
    assert error(response)


def test_the_deprecated_route_publishes_the_body_unchanged(server, client):
    other = server.subscriber("news")
    response = server.post(
        "channels/news/events", b'{"raw": 1}', name="e", socket_id=other.socket_id
    )
    assert response.status in (200, 202)
    assert response.json() == {}
    assert received(client) == [("e", "news", '{"raw": 1}')]
    assert other.take() == []


@pytest.mark.parametrize(
    ("route", "body", "query"),
    [
        ("channels/news/events", b"x", {}),
        ("channels/news/events", b"\xff", {"name": "e"}),
        ("channels/a%20b/events", b"x", {"name": "e"}),
        ("channels/news/events", b"x", {"name": "pusher:e"}),
        ("channels/news/events", b"x", {"name": "e", "socket_id": "x"}),
    ],
)
def test_the_deprecated_route_makes_the_same_checks(server, client, route, body, query):
    assert server.post(route, body, **query).status == 400
    assert client.take() == []


def test_the_deprecated_route_has_the_same_limit(server, client):
    assert server.post("channels/news/events", b"x" * 10_241, name="e").status == 413
