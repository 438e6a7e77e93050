"""The hub with a store and a broker that it shares with other nodes."""

import msgspec
import pytest
from twisted.internet.defer import Deferred

from reverb.brokers.local import LocalBroker
from reverb.protocol.changes import ChannelReaped, MemberJoined, MemberLeft
from reverb.protocol.messages import Member

from .conftest import APP, Node
from .slow_store import SlowStore


class AnnouncingStore(SlowStore):
    """A store that announces members itself, as a shared store does."""

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name not in {"join", "leave"}:
            return method

        def announced(answer):
            return answer and msgspec.structs.replace(answer, announced=True)

        return lambda *arguments: method(*arguments).addCallback(announced)


class SlowBroker(LocalBroker):
    """A broker that registers interest only when the test completes it."""

    def __init__(self):
        super().__init__()
        self.interest = []
        self.pending = []

    def subscribe(self, app_id, channel):
        self.interest.append((app_id, channel))
        self.pending.append(Deferred())
        return self.pending[-1]

    def unsubscribe(self, app_id, channel):
        self.interest.remove((app_id, channel))


@pytest.fixture
def node():
    return Node(make_store=AnnouncingStore)


def joined(user_id, channel="presence-x"):
    return MemberJoined(APP.id, channel, Member(user_id, "{}"))


class TestMembers:
    def test_only_the_store_announces_members(self, node):
        ann, bob = node.connect(), node.connect()
        ann.subscribe("presence-x", "ann")
        ann.take()
        bob.subscribe("presence-x", "bob")
        bob.leave()
        assert ann.take() == []
        node.hub.store_changed(joined("bob"))
        node.hub.store_changed(MemberLeft(APP.id, "presence-x", "bob"))

        assert [(event, data["user_id"]) for event, _, data in ann.take()] == [
            ("member_added", "bob"),
            ("member_removed", "bob"),
        ]
        names = [name for name, *_ in node.take_notices() if name.startswith("Member")]
        assert names == ["MemberAdded", "MemberAdded", "MemberRemoved"]

    def test_a_pending_member_is_not_sent_changes_that_its_list_includes(self, node):
        """The list contains the members who joined before it was sent."""
        ann, bob = node.connect(), node.connect()
        ann.subscribe("presence-x", "ann")
        ann.take()
        node.store.holds = {"join"}
        bob.subscribe("presence-x", "bob")
        node.publish("presence-x", "1")
        node.hub.store_changed(joined("cat"))
        node.publish("presence-x", "2")
        node.turn()
        node.hub.store_changed(joined("dan"))
        node.publish("presence-x", "3")
        node.store.fire()
        node.hub.store_changed(joined("eve"))

        assert bob.events() == ["subscription_succeeded", "e", "e", "e", "member_added"]
        assert ann.events() == ["e", "member_added", "e", "member_added", "e", "member_added"]

    def test_a_member_change_follows_the_cached_event(self, node):
        ann = node.connect()
        node.publish("presence-cache-x", "1")
        node.store.holds = {"get_cached_event"}
        ann.subscribe("presence-cache-x", "ann")
        node.hub.store_changed(joined("bob", "presence-cache-x"))
        node.turn()
        node.store.fire()

        assert ann.events() == ["subscription_succeeded", "e", "member_added"]

    def test_a_change_of_an_unknown_channel_is_ignored(self, node):
        node.hub.store_changed(joined("bob"))
        node.hub.store_changed(MemberLeft(APP.id, "presence-x", "bob"))

        assert node.take_notices() == []
        node.assert_empty()

    def test_reaped_subscriptions_are_reported_to_listeners_only(self, node):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        ann.take()
        node.take_notices()
        node.hub.store_changed(ChannelReaped(APP.id, "presence-x", ("bob", "cat"), vacated=False))
        node.hub.store_changed(ChannelReaped(APP.id, "news", (), vacated=True))

        assert ann.take() == []
        assert node.take_notices() == [
            ("MemberRemoved", "presence-x", "bob"),
            ("MemberRemoved", "presence-x", "cat"),
            ("ChannelVacated", "news"),
        ]


class TestInterest:
    @pytest.fixture
    def broker(self):
        return SlowBroker()

    @pytest.fixture
    def node(self, broker):
        return Node(make_store=SlowStore, broker=broker)

    def test_it_is_in_place_before_the_subscription_is_confirmed(self, node, broker):
        ann = node.connect()
        node.store.holds = {"join"}
        done = ann.subscribe("news")
        assert (ann.take(), node.store.pending_calls) == ([], [])
        broker.pending.pop().callback(None)
        assert (ann.take(), node.store.pending_calls) == ([], ["join"])
        node.store.fire()

        assert ann.events() == ["subscription_succeeded"]
        assert done.called

    def test_it_ends_with_the_last_subscriber(self, node, broker):
        ann, bob = node.connect(), node.connect()
        for client in (ann, bob):
            client.subscribe("news")
            broker.pending.pop().callback(None)
        broker.interest.pop()
        ann.leave()
        assert broker.interest == [(APP.id, "news")]
        bob.unsubscribe("news")
        assert broker.interest == []

    def test_a_client_that_leaves_before_interest_is_in_place_leaves_nothing(self, node, broker):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        ann.leave()
        assert broker.interest == []
        node.store.holds = {"join"}
        broker.pending.pop().callback(None)

        assert node.store.pending_calls == []
        assert ann.take() == []
        node.assert_empty()
