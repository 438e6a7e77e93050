"""The hub with a slow store, as a shared store is."""

import pytest
from twisted.internet.defer import Deferred

from reverb.envelope import Publication
from reverb.protocol import messages
from reverb.protocol.messages import Member

from .conftest import APP, Node, limited, result_of
from .slow_store import SlowStore


@pytest.fixture
def node():
    return Node(make_store=SlowStore)


@pytest.fixture
def store(node):
    return node.store


def fire_all(store, order):
    """Complete all held calls and their successors, the oldest or the newest first."""
    while store.held_calls:
        store.fire(0 if order == "oldest" else -1)


class TestJoining:
    def test_the_client_waits_for_the_answer(self, node, store):
        store.holds = {"join"}
        client = node.connect()

        done = client.subscribe("news")
        assert not done.called
        assert client.take() == []

        store.fire()
        assert done.called
        assert client.events() == ["subscription_succeeded"]

    def test_others_do_not_wait(self, node, store):
        one, other = node.connect(), node.connect()
        store.holds = {"join"}
        one.subscribe("slow")
        store.holds = set()
        other.subscribe("news")
        node.publish("news")

        assert other.events() == ["subscription_succeeded", "e"]
        assert one.take() == []

    def test_publications_during_the_call_follow_the_confirmation(self, node, store):
        store.holds = {"join"}
        client, other = node.connect(), node.connect()
        client.subscribe("news")
        node.publish("news", "1")
        node.publish("news", "2", exclude=client.socket_id)
        node.turn()
        node.publish("news", "3")
        assert client.take() == []
        store.fire()
        node.publish("news", "4")

        assert client.take() == [
            ("subscription_succeeded", "news", {}),
            *[("e", "news", number) for number in (1, 3, 4)],
        ]
        assert other.take() == []

    def test_a_refused_subscriber_receives_no_publication_made_during_the_call(self, node, store):
        app = limited(max_presence_members=1)
        ann, bob = node.connect(app), node.connect(app)
        ann.subscribe("presence-x", "ann")
        store.holds = {"join"}
        bob.subscribe("presence-x", "bob")
        node.publish("presence-x")
        store.fire()
        node.publish("presence-x")

        assert bob.events() == ["error", "subscription_error"]
        bob.leave()
        ann.leave()
        node.assert_empty()

    def test_a_member_added_on_another_node_during_the_call_is_not_missed(self, node, store):
        """The store answers without the other member, whose message arrives before the answer."""
        store.holds, store.applies_at_once = {"join"}, True
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        added = messages.member_added("presence-x", Member("bob", "{}"))
        node.hub.deliver(Publication(APP.id, "presence-x", added, "9.9"))
        node.turn()
        store.fire()

        known = set()
        for event, _, data in ann.take():
            known |= set(data["presence"]["ids"] if "presence" in data else [data["user_id"]])
            assert event in {"subscription_succeeded", "member_added"}
        assert known == {"ann", "bob"}


@pytest.mark.parametrize("applies_at_once", [False, True])
@pytest.mark.parametrize("order", ["oldest", "newest"])
class TestLeavingWhileJoining:
    def test_a_client_that_disconnects_leaves_nothing(self, node, store, applies_at_once, order):
        store.holds, store.applies_at_once = {"join", "leave", "disconnect"}, applies_at_once
        client = node.connect()
        client.subscribe("presence-cache-x", "ann")
        client.leave()
        fire_all(store, order)

        node.assert_empty()
        assert client.take() == []
        assert result_of(store.channels(APP.id, "")) == {}
        assert result_of(store.connections(APP.id)) == 0

    def test_notices_end_with_the_correct_state(self, node, store, applies_at_once, order):
        store.applies_at_once = applies_at_once
        client = node.connect()
        node.take_notices()
        store.holds = {"join", "leave"}
        client.subscribe("presence-x", "ann")
        client.leave()
        fire_all(store, order)

        names = [name for name, *_ in node.take_notices() if name != "Disconnected"]
        assert names == ["ChannelOccupied", "MemberAdded", "MemberRemoved", "ChannelVacated"]

    def test_other_members_are_not_left_with_a_ghost(self, node, store, applies_at_once, order):
        store.applies_at_once = applies_at_once
        bob, ann = node.connect(), node.connect()
        bob.subscribe("presence-x", "bob")
        bob.take()
        store.holds = {"join", "leave"}
        ann.subscribe("presence-x", "ann")
        ann.leave()
        fire_all(store, order)

        assert bob.events() in ([], ["member_added", "member_removed"])
        assert list(result_of(store.members(APP.id, "presence-x"))) == ["bob"]


class TestLateResults:
    def test_a_late_refusal_changes_nothing(self, node, store):
        app = limited(max_presence_members=1)
        ann, bob = node.connect(app), node.connect(app)
        ann.subscribe("presence-x", "ann")
        store.holds = {"join"}
        bob.subscribe("presence-x", "bob")
        bob.leave()
        store.fire_all()

        assert list(node.hub.sessions) == [ann.socket_id]
        assert list(result_of(store.members(APP.id, "presence-x"))) == ["ann"]

    def test_a_client_that_is_closed_is_not_confirmed(self, node, store):
        client = node.connect()
        client.sign_in("ann")
        client.take()
        store.holds = {"join"}
        client.subscribe("presence-x", "ann")
        node.hub.terminate(APP, "ann")
        store.fire_all()

        assert client.take() == []
        client.leave()
        assert result_of(store.channels(APP.id, "")) == {}
        node.assert_empty()

    @pytest.mark.parametrize("channel", ["news", "cache-x", "presence-x"])
    def test_a_client_whose_buffer_overflows_on_the_confirmation_leaves_nothing(
        self, node, channel
    ):
        client = node.connect()
        client.connection.send = lambda payload: close_slow_client(client.session)
        client.subscribe(channel, "ann")
        client.leave()

        names = [name for name, *_ in node.take_notices()]
        assert names.count("ChannelOccupied") == names.count("ChannelVacated") == 1
        assert names.count("MemberAdded") == names.count("MemberRemoved")
        assert result_of(node.store.channels(APP.id, "")) == {}
        node.assert_empty()


def close_slow_client(session):
    """Close a client that does not read, as its connection would; return the bytes sent."""
    session.begin_close()
    return 0


class TestLeaving:
    def test_a_leaving_client_receives_nothing_during_the_call(self, node, store):
        client = node.connect()
        client.subscribe("news")
        client.take()
        store.holds = {"leave"}
        done = client.unsubscribe("news")
        node.publish("news")

        assert not done.called
        assert client.take() == []
        assert node.hub.channels == {}
        store.fire()
        assert done.called

    def test_a_member_is_removed_when_the_store_has_answered(self, node, store):
        ann, bob = node.connect(), node.connect()
        for client, user_id in [(ann, "ann"), (bob, "bob")]:
            client.subscribe("presence-x", user_id)
            client.take()
        bob.take(), ann.take()
        store.holds = {"leave"}
        bob.leave()
        assert ann.take() == []
        store.fire()

        assert ann.events() == ["member_removed"]

    def test_a_session_ends_at_once_and_is_counted_until_the_store_answers(self, node, store):
        store.holds = {"disconnect"}
        client = node.connect()
        client.leave()

        assert node.hub.sessions == {}
        assert result_of(store.connections(APP.id)) == 1
        store.fire()
        assert result_of(store.connections(APP.id)) == 0


class TestCache:
    def test_a_publication_does_not_wait_until_it_is_cached(self, node, store):
        client = node.connect()
        client.subscribe("cache-x")
        client.take()
        store.holds = {"cache_event"}
        node.publish("cache-x")

        assert client.events() == ["e"]
        store.fire()

    def test_the_cached_event_precedes_publications_made_during_the_call(self, node, store):
        """It is older: a client that received it last would show an outdated state."""
        node.publish("cache-x", "1")
        store.holds, store.applies_at_once = {"get_cached_event"}, True
        client = node.connect()
        client.subscribe("cache-x")
        node.publish("cache-x", "2")
        node.turn()
        store.fire()

        assert client.take() == [
            ("subscription_succeeded", "cache-x", {}),
            ("e", "cache-x", 1),
            ("e", "cache-x", 2),
        ]

    @pytest.mark.parametrize("applies_at_once", [False, True])
    @pytest.mark.parametrize("held", ["join", "get_cached_event"])
    def test_publications_during_the_call_are_received_once(
        self, node, store, held, applies_at_once
    ):
        """An event is received at most once: as the cached event or as the live one."""
        store.holds, store.applies_at_once = {held}, applies_at_once
        client = node.connect()
        client.subscribe("cache-x")
        node.publish("cache-x", "1")
        node.publish("cache-x", "2")
        node.turn()
        store.fire()

        numbers = [data for event, _, data in client.take() if event == "e"]
        assert numbers in ([1, 2], [2])

    def test_a_client_that_disconnected_receives_no_cache_miss(self, node, store):
        client = node.connect()
        store.holds = {"get_cached_event"}
        client.subscribe("cache-x")
        client.take()
        client.leave()
        node.take_notices()
        store.fire()

        assert client.take() == []
        assert node.take_notices() == [("ChannelVacated", "cache-x")]
        node.assert_empty()


class TestConnecting:
    def test_a_reserved_socket_id_is_not_assigned_again(self, node, store, monkeypatch):
        numbers = iter([(1 << 31) + 2, (1 << 31) + 2, (3 << 31) + 4])
        monkeypatch.setattr("reverb.hub.hub.secrets.randbits", lambda _: next(numbers))
        store.holds = {"connect"}
        admitting = [Deferred.fromCoroutine(node.hub.admit(APP, object())) for _ in range(2)]
        assert node.hub.sessions == {}
        store.fire_all()

        assert [result_of(session).socket_id for session in admitting] == ["1.2", "3.4"]

    def test_the_limit_counts_pending_connections(self, node, store):
        app = limited(max_connections=1)
        store.holds = {"connect"}
        admitting = [Deferred.fromCoroutine(node.hub.admit(app, object())) for _ in range(2)]
        store.fire_all()

        admitted, refused = [result_of(session) for session in admitting]
        assert refused is None
        assert node.hub.sessions == {admitted.socket_id: admitted}
