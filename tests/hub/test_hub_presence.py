"""Members of presence channels: one for each user, however many connections."""

import json

from hypothesis import given
from hypothesis import strategies as st

from .conftest import APP, Node, limited, result_of

ANN = {"user_id": "ann", "user_info": {"v": 1}}


def members(node, channel="presence-x"):
    found = result_of(node.store.members(APP.id, channel))
    return {user_id: json.loads(info) for user_id, info in found.items()}


def presence(**infos):
    """Return the data of a confirmation with these members and their ``user_info``."""
    return {"presence": {"count": len(infos), "ids": list(infos), "hash": infos}}


def test_a_new_member_is_in_its_own_list(node):
    ann = node.connect()
    ann.subscribe("presence-x", ANN)

    assert ann.take() == [("subscription_succeeded", "presence-x", presence(ann={"v": 1}))]


def test_other_members_are_notified_and_the_new_member_receives_the_list(node):
    ann, bob = node.connect(), node.connect()
    ann.subscribe("presence-x", ANN)
    ann.take()
    bob.subscribe("presence-x", {"user_id": "bob", "user_info": {"v": 2}})

    added = {"user_id": "bob", "user_info": {"v": 2}}
    assert ann.take() == [("member_added", "presence-x", added)]
    everybody = presence(ann={"v": 1}, bob={"v": 2})
    assert bob.take() == [("subscription_succeeded", "presence-x", everybody)]


def test_member_added_holds_user_info_even_when_there_is_none(node):
    ann, bob = node.connect(), node.connect()
    ann.subscribe("presence-x", ANN)
    ann.take()
    bob.subscribe("presence-x", {"user_id": 10})

    assert ann.take() == [("member_added", "presence-x", {"user_id": "10", "user_info": {}})]


def test_a_user_is_added_once_and_removed_once(node):
    bob, *anns = (node.connect() for _ in range(4))
    bob.subscribe("presence-x", "bob")
    bob.take()

    for ann in anns:
        ann.subscribe("presence-x", ANN)
    assert bob.events() == ["member_added"]
    anns[0].unsubscribe("presence-x")
    anns[1].leave()
    assert bob.take() == []
    anns[2].leave()
    assert bob.take() == [("member_removed", "presence-x", {"user_id": "ann"})]


def test_a_users_other_connections_are_notified_of_other_users_only(node):
    one, other, bob = (node.connect() for _ in range(3))
    one.subscribe("presence-x", ANN)
    other.subscribe("presence-x", ANN)
    assert one.events() == ["subscription_succeeded"]
    assert other.take() == [("subscription_succeeded", "presence-x", presence(ann={"v": 1}))]

    bob.subscribe("presence-x", "bob")
    one.leave()
    assert other.events() == ["member_added"]


def test_a_second_connections_user_info_replaces_the_first(node):
    one, other, bob = (node.connect() for _ in range(3))
    one.subscribe("presence-x", ANN)
    other.subscribe("presence-x", {"user_id": "ann", "user_info": {"v": 2}})
    assert members(node) == {"ann": {"v": 2}}

    other.leave()
    bob.subscribe("presence-x", "bob")

    assert bob.take()[0][2] == presence(ann={"v": 2}, bob={})


def test_numbers_and_strings_are_the_same_user(node):
    for user_id in [10, 10.0, "10"]:
        node.connect().subscribe("presence-x", {"user_id": user_id})

    assert members(node) == {"10": {}}
    assert result_of(node.store.counts(APP.id, "presence-x")).subscriptions == 3


def test_a_leaving_member_is_not_notified_of_its_own_leave(node):
    ann = node.connect()
    ann.subscribe("presence-x", ANN)
    ann.take()
    ann.unsubscribe("presence-x")

    assert ann.take() == []


def test_a_removed_member_may_join_again(node):
    ann, bob = node.connect(), node.connect()
    bob.subscribe("presence-x", "bob")
    bob.take()
    for _ in range(2):
        ann.subscribe("presence-x", ANN)
        ann.unsubscribe("presence-x")

    assert bob.events() == ["member_added", "member_removed"] * 2


def test_members_belong_to_one_channel(node):
    ann, bob = node.connect(), node.connect()
    bob.subscribe("presence-x", "bob")
    bob.subscribe("presence-y", "bob")
    bob.take()

    ann.subscribe("presence-y", ANN)

    assert [(event, channel) for event, channel, _ in bob.take()] == [
        ("member_added", "presence-y")
    ]
    assert members(node, "presence-x") == {"bob": {}}


def test_a_signed_in_user_is_a_member_without_channel_data(node):
    ann, bob = node.connect(), node.connect()
    ann.sign_in("ann")
    ann.subscribe("presence-x")
    bob.subscribe("presence-x", "bob")

    assert members(node) == {"ann": {}, "bob": {}}
    assert ann.events() == ["signin_success", "subscription_succeeded", "member_added"]


class TestLimit:
    def test_a_member_above_the_limit_is_refused_and_stays_connected(self, node):
        app = limited(max_presence_members=2)
        ann, bob, eve = (node.connect(app) for _ in range(3))
        ann.subscribe("presence-x", "ann")
        bob.subscribe("presence-x", "bob")
        ann.take()
        node.take_notices()

        eve.subscribe("presence-x", "eve")

        (event, _, data), report = eve.take()
        assert (event, data["code"]) == ("error", None)
        assert "presence-x" in data["message"]
        expected = {"type": "SubscriptionError", "error": data["message"]}
        assert report == ("subscription_error", "presence-x", expected)
        assert eve.session.open
        assert eve.session.channels == {}
        assert ann.take() == []
        assert node.take_notices() == []
        assert members(node) == {"ann": {}, "bob": {}}

    def test_a_member_may_have_more_connections(self, node):
        app = limited(max_presence_members=1)
        one, other = node.connect(app), node.connect(app)
        one.subscribe("presence-x", "ann")
        other.subscribe("presence-x", "ann")

        assert other.events() == ["subscription_succeeded"]

    def test_there_is_room_again_when_a_member_has_left(self, node):
        app = limited(max_presence_members=1)
        ann, eve = node.connect(app), node.connect(app)
        ann.subscribe("presence-x", "ann")
        eve.subscribe("presence-x", "eve")
        ann.leave()
        eve.subscribe("presence-x", "eve")

        assert eve.events() == ["error", "subscription_error", "subscription_succeeded"]

    def test_each_channel_has_its_own_limit(self, node):
        client = node.connect(limited(max_presence_members=1))
        client.subscribe("presence-x", "ann")
        client.subscribe("presence-y", "bob")
        client.subscribe("private-x")

        assert client.events() == ["subscription_succeeded"] * 3

    def test_a_refused_subscriber_gets_nothing_of_the_channel(self, node):
        app = limited(max_presence_members=1)
        ann, eve = node.connect(app), node.connect(app)
        ann.subscribe("presence-x", "ann")
        eve.subscribe("presence-x", "eve")
        eve.take()

        node.publish("presence-x")

        assert eve.take() == []
        eve.leave()
        ann.leave()
        node.assert_empty()


step = st.tuples(st.integers(0, 4), st.sampled_from(["subscribe", "unsubscribe", "leave"]))
# By default hypothesis prefers short lists, which test little.
steps = st.lists(step, max_size=10) | st.lists(step, min_size=20, max_size=40)


@given(steps)
def test_every_client_can_maintain_the_list_from_its_events(sequence):
    """Each client maintains its list as pusher-js does; it equals the list of the store."""
    node = Node()
    users = ["ann", "ann", "bob", "bob", "eve"]
    clients = [node.connect() for _ in users]
    lists = {}
    for index, action in sequence:
        client, user_id = clients[index], users[index]
        if action == "subscribe":
            client.subscribe("presence-x", user_id)
        elif action == "unsubscribe":
            client.unsubscribe("presence-x")
            lists.pop(client.socket_id, None)
        else:
            client.leave()
            lists.pop(client.socket_id, None)
            clients[index] = node.connect()
        for each in clients:
            for event, _, data in each.take():
                if event == "subscription_succeeded":
                    assert data["presence"]["count"] == len(data["presence"]["hash"])
                    lists[each.socket_id] = set(data["presence"]["ids"])
                elif event == "member_added":
                    assert data["user_id"] not in lists[each.socket_id]
                    lists[each.socket_id].add(data["user_id"])
                elif event == "member_removed":
                    lists[each.socket_id].remove(data["user_id"])
        for seen in lists.values():
            assert seen == set(members(node))
