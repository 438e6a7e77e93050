"""The hub with a store and a broker that other nodes share: what they tell it, and when."""

import msgspec
import pytest
from twisted.internet.defer import Deferred

from reverb.brokers.local import LocalBroker
from reverb.interfaces import ChannelReaped, MemberJoined, MemberLeft
from reverb.protocol.messages import Member

from .conftest import APP, Node
from .slow_store import SlowStore


class AnnouncingStore(SlowStore):
    """A store that tells of members itself, as one that is shared does."""

    def __getattr__(self, name):
        method = super().__getattr__(name)
        if name not in {"join", "leave"}:
            return method

        def announced(answer):
            return answer and msgspec.structs.replace(answer, announced=True)

        return lambda *arguments: method(*arguments).addCallback(announced)


class SlowBroker(LocalBroker):
    """A broker whose interest is in place when the test says so."""

    def __init__(self):
        super().__init__()
        self.wanted = []
        self.waiting = []

    def subscribe(self, app_id, channel):
        self.wanted.append((app_id, channel))
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def unsubscribe(self, app_id, channel):
        self.wanted.remove((app_id, channel))


@pytest.fixture
def node():
    return Node(make_store=AnnouncingStore)


def came(user_id, channel="presence-x"):
    return MemberJoined(APP.id, channel, Member(user_id, "{}"))


class TestMembers:
    def test_subscribers_are_told_by_the_store_alone(self, node):
        ann, bob = node.connect(), node.connect()
        ann.subscribe("presence-x", "ann")
        ann.take()
        bob.subscribe("presence-x", "bob")
        bob.leave()
        assert ann.take() == []
        node.hub.store_changed(came("bob"))
        node.hub.store_changed(MemberLeft(APP.id, "presence-x", "bob"))

        assert [(event, data["user_id"]) for event, _, data in ann.take()] == [
            ("member_added", "bob"),
            ("member_removed", "bob"),
        ]
        names = [name for name, *_ in node.take_notices() if name.startswith("Member")]
        assert names == ["MemberAdded", "MemberAdded", "MemberRemoved"]

    def test_who_waits_for_the_list_is_not_told_before_it(self, node):
        """Whoever has come until then is in the list."""
        ann, bob = node.connect(), node.connect()
        ann.subscribe("presence-x", "ann")
        ann.take()
        node.store.holds = {"join"}
        bob.subscribe("presence-x", "bob")
        node.publish("presence-x", "1")
        node.hub.store_changed(came("cat"))
        node.publish("presence-x", "2")
        node.turn()
        node.hub.store_changed(came("dan"))
        node.publish("presence-x", "3")
        node.store.fire()
        node.hub.store_changed(came("eve"))

        assert bob.events() == ["subscription_succeeded", "e", "e", "e", "member_added"]
        assert ann.events() == ["e", "member_added", "e", "member_added", "e", "member_added"]

    def test_who_waits_for_a_cached_event_is_told_after_it(self, node):
        ann = node.connect()
        node.publish("presence-cache-x", "1")
        node.store.holds = {"get_cached_event"}
        ann.subscribe("presence-cache-x", "ann")
        node.hub.store_changed(came("bob", "presence-cache-x"))
        node.turn()
        node.store.fire()

        assert ann.events() == ["subscription_succeeded", "e", "member_added"]

    def test_a_channel_that_nobody_here_has_concerns_nobody(self, node):
        node.hub.store_changed(came("bob"))
        node.hub.store_changed(MemberLeft(APP.id, "presence-x", "bob"))

        assert node.take_notices() == []
        node.assert_empty()

    def test_what_a_dead_node_leaves_is_for_watchers_alone(self, node):
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
        assert (ann.take(), node.store.asked) == ([], [])
        broker.waiting.pop().callback(None)
        assert (ann.take(), node.store.asked) == ([], ["join"])
        node.store.fire()

        assert ann.events() == ["subscription_succeeded"]
        assert done.called

    def test_it_ends_with_the_last_subscriber(self, node, broker):
        ann, bob = node.connect(), node.connect()
        for client in (ann, bob):
            client.subscribe("news")
            broker.waiting.pop().callback(None)
        broker.wanted.pop()
        ann.leave()
        assert broker.wanted == [(APP.id, "news")]
        bob.unsubscribe("news")
        assert broker.wanted == []

    def test_who_leaves_while_waiting_leaves_nothing(self, node, broker):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        ann.leave()
        assert broker.wanted == []
        node.store.holds = {"join"}
        broker.waiting.pop().callback(None)

        assert node.store.asked == []
        assert ann.take() == []
        node.assert_empty()
