"""Signed-in users: events from the server, and termination of their connections."""

import msgspec

from reverb.envelope import Termination
from reverb.testing import HeldBroker

from .conftest import APP, Node
from .slow_store import SlowStore


def test_the_server_reaches_every_connection_of_a_user(node):
    anns, bob = [node.connect(), node.connect()], node.connect()
    for client, user_id in [*((ann, "ann") for ann in anns), (bob, "bob")]:
        client.sign_in(user_id)
        client.subscribe(f"#server-to-user-{user_id}")
        client.take()

    node.publish("#server-to-user-ann")

    message = ("e", "#server-to-user-ann", 1)
    assert [client.take() for client in [*anns, bob]] == [[message], [message], []]


def test_terminate_closes_the_connections_that_are_signed_in(node):
    anns, bob = [node.connect(), node.connect()], node.connect()
    for ann in anns:
        ann.sign_in("ann")
    bob.sign_in("bob")

    node.hub.terminate(APP, "ann")

    assert [ann.connection.closed[0] for ann in anns] == [4009, 4009]
    assert not any(ann.session.open for ann in anns)
    assert bob.connection.closed is None


class TestTerminationOfMembers:
    """Members of presence channels who have not signed in, as in Laravel Reverb."""

    @staticmethod
    def terminated(node, client, user_id="ann"):
        node.hub.terminate(APP, user_id)
        return client.connection.closed is not None

    def test_it_closes_the_connections_of_the_member(self, node):
        anns, bob, public = [node.connect(), node.connect()], node.connect(), node.connect()
        for channel, ann in zip(("presence-x", "presence-cache-y"), anns, strict=True):
            ann.subscribe("news")
            ann.subscribe(channel, "ann")
        bob.subscribe("presence-x", "bob")
        public.subscribe("news")
        bob.take()

        node.hub.terminate(APP, "ann")

        assert [ann.connection.closed[0] for ann in anns] == [4009, 4009]
        assert bob.connection.closed is None
        assert public.connection.closed is None
        for ann in anns:
            ann.leave()
        assert bob.events() == ["member_removed"]

    def test_a_termination_from_another_node(self, node):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        node.hub.deliver(Termination("another app", "ann"))
        assert ann.connection.closed is None
        node.hub.deliver(Termination(APP.id, "ann"))

        assert ann.connection.closed[0] == 4009

    def test_a_number_and_its_text_are_the_same_user(self, node):
        ann = node.connect()
        ann.subscribe("presence-x", {"user_id": 7})

        assert self.terminated(node, ann, "7")

    def test_a_connection_that_is_also_signed_in_is_closed_once(self, node):
        ann = node.connect()
        ann.sign_in("ann")
        ann.subscribe("presence-x", "ann")
        ann.take()

        assert self.terminated(node, ann)

    def test_a_signed_in_user_may_be_another_member(self, node):
        ann = node.connect()
        ann.sign_in("bob")
        ann.subscribe("presence-x", "ann")

        assert self.terminated(node, ann)

    def test_a_connection_that_has_left_its_last_channel_stays(self, node):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        ann.subscribe("presence-y", "ann")
        ann.unsubscribe("presence-x")
        ann.unsubscribe("presence-y")

        assert not self.terminated(node, ann)
        assert node.hub.sizes()["presence users"] == 0

    def test_a_connection_that_has_left_one_of_its_channels_is_closed(self, node):
        ann = node.connect()
        ann.subscribe("presence-x", "ann")
        ann.subscribe("presence-y", "ann")
        ann.unsubscribe("presence-x")

        assert self.terminated(node, ann)

    def test_a_member_that_was_refused_stays(self, node):
        app = msgspec.structs.replace(APP, max_presence_members=1)
        bob, ann = node.connect(app), node.connect(app)
        bob.subscribe("presence-x", "bob")
        ann.subscribe("presence-x", "ann")

        assert not self.terminated(node, ann)
        assert node.hub.sizes()["presence users"] == 1

    def test_a_member_who_is_still_joining_is_closed(self):
        node = Node(make_store=SlowStore)
        ann = node.connect()
        node.store.holds = {"join"}
        ann.subscribe("presence-x", "ann")

        assert self.terminated(node, ann)
        node.store.fire()
        ann.leave()
        node.store.holds = set()
        node.assert_empty()

    def test_a_failed_join_leaves_nothing(self, logged):
        node = Node(make_store=SlowStore)
        ann = node.connect()
        node.store.fails["join"] = ZeroDivisionError()
        ann.subscribe("presence-x", "ann")

        assert not self.terminated(node, ann)
        assert node.hub.sizes()["presence users"] == 0
        assert len(logged.flush(ZeroDivisionError)) == 1

    def test_a_failed_replay_leaves_the_membership(self, logged):
        node = Node(make_store=SlowStore)
        ann = node.connect()
        node.store.fails["get_cached_event"] = ZeroDivisionError()
        ann.subscribe("presence-cache-x", "ann")

        assert self.terminated(node, ann)
        assert len(logged.flush(ZeroDivisionError)) == 1
        ann.leave()
        node.assert_empty()

    def test_many_connections_are_closed_in_portions(self, node):
        anns = [node.connect() for _ in range(120)]
        for ann in anns:
            ann.subscribe("presence-x", "ann")
        node.hub.terminate(APP, "ann")
        assert sum(ann.connection.closed is not None for ann in anns) == 50
        node.clock.advance(0)

        assert all(ann.connection.closed is not None for ann in anns)


def test_terminate_goes_through_the_broker():
    broker = HeldBroker()
    node = Node(broker=broker)
    ann = node.connect()
    ann.sign_in("ann")

    node.hub.terminate(APP, "ann")
    assert broker.held == [Termination(APP.id, "ann")]
    assert ann.connection.closed is None
    broker.release()
    assert ann.connection.closed is not None


def test_terminating_an_unknown_user_does_nothing(node):
    node.hub.terminate(APP, "ann")
    ann = node.connect()
    ann.sign_in("ann")

    assert ann.connection.closed is None


def test_a_terminated_user_may_sign_in_again(node):
    ann = node.connect()
    ann.sign_in("ann")
    node.hub.terminate(APP, "ann")
    ann.leave()
    again = node.connect()
    again.sign_in("ann")

    assert again.events() == ["signin_success"]
    assert again.connection.closed is None


def test_a_repeated_sign_in_counts_once(node):
    ann = node.connect()
    ann.sign_in("ann")
    ann.sign_in("ann")
    ann.leave()

    node.assert_empty()
