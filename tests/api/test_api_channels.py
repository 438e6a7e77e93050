"""Queries for channels, users and connections, and the termination of a user's connections."""

import json

import pytest
from twisted.internet.defer import Deferred

from reverb.interfaces import StoreRefusedError
from reverb.stores.memory import MemoryStore


def error(response):
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def join(server, channel, user_id):
    client = server.client()
    client.subscribe(channel, channel_data=json.dumps({"user_id": user_id}))
    client.take()
    return client


@pytest.fixture
def crowd(server):
    for user_id in ("1", "1", "b@c"):
        join(server, "presence-room", user_id)
    join(server, "presence-cache-hall", 10)
    server.subscriber("news", "private-a", "cache-c")
    server.subscriber("news")
    return server


# GET /channels


def test_no_channels_is_an_empty_object(server):
    response = server.get("channels")
    assert (response.status, response.body) == (200, b'{"channels":{}}')
    assert server.get("channels", filter_by_prefix="presence-").body == b'{"channels":{}}'


def test_the_occupied_channels_are_listed(crowd):
    names = ["presence-room", "presence-cache-hall", "news", "private-a", "cache-c"]
    assert crowd.get("channels").json() == {"channels": {name: {} for name in names}}


@pytest.mark.parametrize(
    ("prefix", "count"),
    [("presence-", 2), ("presence", 2), ("news", 1), ("newsx", 0), ("", 5), ("EWS", 0)],
)
def test_channels_are_filtered_by_prefix(crowd, prefix, count):
    assert len(crowd.get("channels", filter_by_prefix=prefix).json()["channels"]) == count


def test_users_are_counted_on_presence_channels(crowd):
    content = crowd.get("channels", filter_by_prefix="presence-", info="user_count").json()
    assert content == {
        "channels": {"presence-room": {"user_count": 2}, "presence-cache-hall": {"user_count": 1}}
    }


def test_subscriptions_are_counted_on_all_channels(crowd):
    content = crowd.get("channels", info="subscription_count").json()
    assert content == {
        "channels": {
            "presence-room": {"subscription_count": 3},
            "presence-cache-hall": {"subscription_count": 1},
            "news": {"subscription_count": 2},
            "private-a": {"subscription_count": 1},
            "cache-c": {"subscription_count": 1},
        }
    }


def test_both_counts_of_presence_channels(crowd):
    content = crowd.get(
        "channels", filter_by_prefix="presence-room", info="user_count,subscription_count"
    ).json()
    assert content == {"channels": {"presence-room": {"user_count": 2, "subscription_count": 3}}}


@pytest.mark.parametrize(
    "query",
    [
        {"info": "user_count"},
        {"info": "user_count", "filter_by_prefix": "private-"},
        {"info": "user_count", "filter_by_prefix": "presence"},
        {"info": "subscription_count,user_count"},
        {"info": "cache", "filter_by_prefix": "cache-"},
        {"info": "nonsense"},
        {"info": "user_count,nonsense", "filter_by_prefix": "presence-"},
    ],
)
def test_other_info_of_all_channels_is_refused(crowd, query):
    response = crowd.get("channels", **query)
    assert response.status == 400
    assert error(response)


def test_a_vacated_channel_is_not_listed(server):
    client = server.subscriber("news")
    client.vanish()
    assert server.get("channels").json() == {"channels": {}}


def test_server_to_user_channels_are_not_listed(server):
    client = server.client()
    client.sign_in('{"id":"u"}')
    client.subscribe("#server-to-user-u")
    assert client.take()[-1]["event"] == "pusher_internal:subscription_succeeded"
    assert server.get("channels").json() == {"channels": {}}


@pytest.mark.parametrize("prefix", ["", "#", "#online-"])
def test_the_internal_online_channels_are_hidden(make_server, app_with, prefix):
    server = make_server(app_with(watchlists=True))
    client = server.client()
    client.sign_in('{"id":"u","watchlist":["u"]}')
    assert client.take()[-1]["event"] == "pusher_internal:watchlist_events"
    assert server.get("channels", filter_by_prefix=prefix).json() == {"channels": {}}
    for route in ("", "/users", "/stats"):
        assert server.get(f"channels/%23online-u{route}").status == 400


def test_apps_do_not_see_each_others_channels(make_server, app_with):
    server = make_server(app_with(), app_with(id="2", key="k2", secret="s2"))
    server.subscriber("news")
    other = server.service.settings.apps[1]
    assert server.get("channels", app=other).json() == {"channels": {}}
    assert server.get("channels/news", app=other).json() == {"occupied": False}


# GET /channels/NAME


@pytest.mark.parametrize(
    "name", ["nobody", "private-x", "presence-x", "cache-x", "%23server-to-user-u"]
)
def test_a_channel_without_subscribers_is_no_error(server, name):
    response = server.get(f"channels/{name}")
    assert (response.status, response.body) == (200, b'{"occupied":false}')


def test_an_occupied_channel(crowd):
    assert crowd.get("channels/news").json() == {"occupied": True}


@pytest.mark.parametrize(
    ("name", "info", "expected"),
    [
        ("news", "subscription_count", {"subscription_count": 2}),
        ("presence-room", "user_count", {"user_count": 2}),
        (
            "presence-room",
            "user_count,subscription_count",
            {"user_count": 2, "subscription_count": 3},
        ),
        (
            "presence-room",
            " user_count , subscription_count ",
            {"user_count": 2, "subscription_count": 3},
        ),
        ("cache-c", "cache", {"cache": None}),
        ("presence-cache-hall", "cache,user_count", {"cache": None, "user_count": 1}),
        ("news", "", {}),
    ],
)
def test_a_channels_info(crowd, name, info, expected):
    info = info.replace(" ", "%20")
    assert crowd.get(f"channels/{name}", info=info).json() == {"occupied": True} | expected


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("news", "user_count"),
        ("private-a", "subscription_count,user_count"),
        ("news", "cache"),
        ("presence-room", "cache"),
        ("presence-room", "members"),
        ("private-cachex", "cache"),
        ("cache", "cache"),
    ],
)
def test_info_that_does_not_apply_to_the_channel_is_an_error(crowd, name, info):
    response = crowd.get(f"channels/{name}", info=info)
    assert response.status == 400
    assert error(response)


@pytest.mark.parametrize(
    "name", ["cache-c", "private-cache-c", "presence-cache-c", "private-encrypted-cache-c"]
)
def test_a_cache_channel_returns_its_last_event_and_its_ttl(make_server, name):
    server = make_server(cache_ttl=60)
    event = {"name": "e", "channel": name, "data": '{"a":1}'}
    assert server.get(f"channels/{name}", info="cache").json() == {"occupied": False, "cache": None}
    server.post("events", {**event, "data": "old"})
    server.post("events", event)
    content = server.get(f"channels/{name}", info="cache").json()
    assert content == {"occupied": False, "cache": {"data": '{"a":1}', "ttl": 60}}
    server.advance(20.5)
    content = server.get(f"channels/{name}", info="cache").json()
    assert content["cache"]["ttl"] in (39, 40)
    assert isinstance(content["cache"]["ttl"], int)
    server.advance(40)
    assert server.get(f"channels/{name}", info="cache").json()["cache"] is None


@pytest.mark.parametrize(
    "name", ["a%20b", "a%2Fb", "%C3%A4", "%FF", "%00", "x" * 201, "a:b", "%23x"]
)
def test_a_bad_channel_name_is_refused(server, name):
    for route in ("", "/users", "/stats"):
        response = server.get(f"channels/{name}{route}")
        assert response.status == 400
        assert error(response)


# GET /channels/NAME/users


def test_the_users_of_a_presence_channel_are_listed_with_string_ids(crowd):
    assert crowd.get("channels/presence-room/users").json() == {
        "users": [{"id": "1"}, {"id": "b@c"}]
    }
    assert crowd.get("channels/presence-cache-hall/users").json() == {"users": [{"id": "10"}]}


def test_no_users_is_an_empty_list(server):
    response = server.get("channels/presence-x/users")
    assert (response.status, response.body) == (200, b'{"users":[]}')


@pytest.mark.parametrize("name", ["news", "private-a", "private-encrypted-presence-x", "cache-c"])
def test_only_presence_channels_have_users(crowd, name):
    response = crowd.get(f"channels/{name}/users")
    assert response.status == 400
    assert error(response)


def test_a_user_is_listed_until_the_last_connection_ends(server):
    first, second = join(server, "presence-x", "1"), join(server, "presence-x", "1")
    first.vanish()
    assert server.get("channels/presence-x/users").json() == {"users": [{"id": "1"}]}
    second.vanish()
    assert server.get("channels/presence-x/users").json() == {"users": []}


# GET /channels/NAME/stats, deprecated


def test_the_stats_of_a_channel(crowd):
    assert crowd.get("channels/presence-room/stats").json() == {
        "occupied": True,
        "connection_count": 3,
        "user_count": 2,
    }
    assert crowd.get("channels/nobody/stats").json() == {"occupied": False, "connection_count": 0}


# GET /connections


def test_connections_without_a_subscription_count_too(server):
    assert server.get("connections").json() == {"connections": 0}
    clients = [server.client() for _ in range(3)]
    server.subscriber("news")
    assert server.get("connections").json() == {"connections": 4}
    clients[0].vanish()
    assert server.get("connections").json() == {"connections": 3}


# POST /users/ID/terminate_connections


@pytest.fixture
def signed_in(server):
    """Two connections of user u, one of user v, and one that is u only as a channel's member."""
    clients = [server.client() for _ in range(3)]
    for client, user_id in zip(clients, ("u", "u", "v"), strict=True):
        client.sign_in(json.dumps({"id": user_id}))
        assert client.take()[-1]["event"] == "pusher:signin_success"
    return [*clients, join(server, "presence-x", "u")]


@pytest.mark.parametrize(
    "path", ["/apps/app-id/users/u/terminate_connections", "/users/u/terminate_connections"]
)
@pytest.mark.parametrize("body", [b"{}", b"", b"null"])
def test_a_users_connections_are_closed(server, signed_in, path, body):
    response = server.request("POST", path, body)
    assert (response.status, response.body) == (200, b"{}")
    first, second, other, member = signed_in
    for client in (first, second, member):
        assert client.take()[-1]["event"] == "pusher:error"
        assert client.close_code == 4009
        assert not client.connected
    assert other.connected
    assert server.client().socket_id


def test_terminating_a_user_without_connections_is_no_error(server):
    assert server.post("users/nobody/terminate_connections", b"{}").json() == {}


@pytest.mark.parametrize(
    ("path", "user_id"),
    [("a%20b", "a b"), ("auth0%7C1", "auth0|1"), ("%2F", "/"), ("%C3%A4", "ä"), ("7", 7)],
)
def test_the_id_of_a_member_may_have_any_character(server, path, user_id):
    member = join(server, "presence-x", user_id)
    assert server.post(f"users/{path}/terminate_connections", b"{}").json() == {}
    assert member.close_code == 4009


@pytest.mark.parametrize("user_id", ["x" * 201, ""])
def test_a_bad_user_id_is_refused(server, user_id):
    response = server.post(f"users/{user_id}/terminate_connections", b"{}")
    assert response.status == 400
    assert error(response)


def test_another_apps_user_with_the_same_id_stays_connected(make_server, app_with):
    server = make_server(app_with(), app_with(id="2", key="k2", secret="s2"))
    other = server.service.settings.apps[1]
    client = server.client()
    client.sign_in('{"id":"u"}')
    server.post("users/u/terminate_connections", b"{}", app=other)
    assert client.connected


def test_an_event_may_be_sent_to_a_user(server, signed_in):
    first, second, other, member = signed_in
    for client in (first, second):
        client.subscribe("#server-to-user-u")
        client.take()
    event = {"name": "e", "channel": "#server-to-user-u", "data": "x"}
    assert server.post("events", event).json() == {}
    for client in (first, second):
        assert client.take() == [{"event": "e", "channel": "#server-to-user-u", "data": "x"}]
    assert other.take() == member.take() == []


def test_a_refusal_by_the_store_is_500_with_one_sentence(crowd, monkeypatch):
    async def refuse(*_):
        raise StoreRefusedError("channels 1 failed: WRONGTYPE")

    monkeypatch.setattr(MemoryStore, "channels", lambda *_: Deferred.fromCoroutine(refuse()))
    response = crowd.get("channels")

    assert response.status == 500
    assert error(response) == "The server's stored data is unusable: see the server's log"
