"""The notices that listeners of the hub receive, and their order."""

import msgspec
import pytest

from reverb.protocol import notices

from .conftest import APP, OTHER, limited


def test_every_notice_names_its_app():
    kinds = [
        kind
        for kind in vars(notices).values()
        if isinstance(kind, type) and issubclass(kind, notices.Notice)
    ]

    assert len(kinds) == 10
    for kind in kinds:
        assert "app_id" in kind.__struct_fields__


def test_a_notice_cannot_be_changed():
    notice = notices.Connected(app_id="1", socket_id="1.1")

    with pytest.raises(AttributeError):
        notice.app_id = "2"


def test_a_connection(node):
    client = node.connect()
    client.leave()

    assert node.notices == [
        notices.Connected(app_id=APP.id, socket_id=client.socket_id),
        notices.Disconnected(app_id=APP.id, socket_id=client.socket_id),
    ]


def test_a_connection_that_is_not_admitted_is_no_notice(node):
    app = limited(max_connections=1)
    node.connect(app)
    node.take_notices()

    assert node.try_to_connect(app) is None
    assert node.take_notices() == []


def test_a_channel_is_occupied_by_the_first_and_vacated_by_the_last(node):
    one, other = node.connect(), node.connect()
    node.take_notices()

    one.subscribe("news")
    assert node.take_notices() == [("ChannelOccupied", "news")]
    other.subscribe("news")
    one.unsubscribe("news")
    assert node.take_notices() == []
    other.unsubscribe("news")
    assert node.take_notices() == [("ChannelVacated", "news")]
    one.subscribe("news")
    assert node.take_notices() == [("ChannelOccupied", "news")]


@pytest.mark.parametrize(
    "channel", ["news", "private-x", "private-encrypted-x", "cache-x", "presence-x"]
)
def test_every_kind_of_channel_is_occupied_and_vacated(node, channel):
    client = node.connect()
    client.subscribe(channel, "ann" if channel.startswith("presence-") else None)
    client.leave()

    names = [name for name, *rest in node.take_notices() if rest == [channel]]
    assert [n for n in names if n.startswith("Channel")] == ["ChannelOccupied", "ChannelVacated"]


def test_occupied_comes_before_added_and_removed_before_vacated(node):
    client = node.connect()
    node.take_notices()

    client.subscribe("presence-x", "ann")
    client.unsubscribe("presence-x")

    assert node.take_notices() == [
        ("ChannelOccupied", "presence-x"),
        ("MemberAdded", "presence-x", "ann"),
        ("MemberRemoved", "presence-x", "ann"),
        ("ChannelVacated", "presence-x"),
    ]


def test_a_member_is_added_and_removed_once_over_all_of_a_users_connections(node):
    one, other = node.connect(), node.connect()
    node.take_notices()

    one.subscribe("presence-x", "ann")
    other.subscribe("presence-x", {"user_id": "ann", "user_info": {"a": 1}})
    one.unsubscribe("presence-x")
    other.unsubscribe("presence-x")

    names = [name for name, *_ in node.take_notices()]
    assert names == ["ChannelOccupied", "MemberAdded", "MemberRemoved", "ChannelVacated"]


def test_the_disconnection_follows_the_notices_of_its_effects(node):
    client = node.connect()
    client.subscribe("presence-x", "ann")
    node.take_notices()

    client.leave()

    assert node.take_notices() == [
        ("MemberRemoved", "presence-x", "ann"),
        ("ChannelVacated", "presence-x"),
        ("Disconnected", client.socket_id),
    ]


def test_a_client_event_on_a_private_channel(node):
    client = node.connect()
    client.subscribe("private-x")
    node.take_notices()

    client.client_event("private-x", {"a": 1})

    assert node.notices == [
        notices.ClientEvent(
            app_id=APP.id,
            channel="private-x",
            event="client-x",
            data='{"a":1}',
            socket_id=client.socket_id,
            user_id=None,
        )
    ]


def test_a_client_event_on_a_presence_channel_names_the_user(node):
    client = node.connect()
    client.subscribe("presence-x", "ann")
    node.take_notices()

    client.client_event("presence-x", "text")

    assert node.take_notices() == [
        ("ClientEvent", "presence-x", "client-x", "text", client.socket_id, "ann")
    ]


def test_a_client_event_that_is_refused_is_no_notice(node):
    client = node.connect(limited(client_events_per_second=1))
    client.subscribe("private-x")
    client.client_event("private-x")
    node.take_notices()

    client.client_event("private-x")
    client.client_event("private-other")
    client.client_event("news")

    assert node.take_notices() == []


def test_a_cache_miss_is_a_notice_and_a_hit_is_not(node):
    one, other = node.connect(), node.connect()
    node.take_notices()

    one.subscribe("cache-x")
    assert node.take_notices() == [("ChannelOccupied", "cache-x"), ("CacheMiss", "cache-x")]
    node.publish("cache-x")
    other.subscribe("cache-x")
    assert node.take_notices() == []


def test_publications_and_refusals_are_no_notices(node):
    client = node.connect()
    client.subscribe("news")
    node.take_notices()

    node.publish("news")
    client.subscribe("news")
    client.unsubscribe("elsewhere")
    client.send("pusher:ping")
    client.sign_in("ann")

    assert node.take_notices() == []


def test_a_listener_that_raises_affects_nothing_else(node, logged):
    seen = []

    def broken(notice):
        raise ZeroDivisionError(msgspec.structs.asdict(notice)["app_id"])

    node.hub.add_listener(broken)
    node.hub.add_listener(seen.append)
    client = node.connect()
    client.subscribe("presence-cache-x", "ann")
    client.leave()

    assert [type(notice).__name__ for notice in seen] == [
        "Connected",
        "ChannelOccupied",
        "MemberAdded",
        "CacheMiss",
        "MemberRemoved",
        "ChannelVacated",
        "Disconnected",
    ]
    assert len(logged.flush(ZeroDivisionError)) == 7
    assert client.events() == ["subscription_succeeded", "cache_miss"]
    node.assert_empty()


def test_a_notice_names_its_app(node):
    for app in (APP, OTHER):
        node.connect(app).subscribe("news")

    assert [(type(n).__name__, n.app_id) for n in node.notices] == [
        ("Connected", APP.id),
        ("ChannelOccupied", APP.id),
        ("Connected", OTHER.id),
        ("ChannelOccupied", OTHER.id),
    ]
