"""What a node does when its subscriptions do not bring what they should."""

import msgspec
import pytest
from twisted.internet import reactor

from redis_nodes import Node, make_node, own_redis, pause, redis, until, wait  # noqa: F401
from redis_proxy import TO_NODE, Proxy
from reverb.envelope import FORMAT
from reverb.protocol.messages import Member

pytestmark = pytest.mark.outside_reactor

ANSWERED = 10
"""Seconds within which whoever subscribes is answered."""


def join(node, user):
    waiting = node.broker.subscribe("1", "presence-x")
    if waiting is not None:
        wait(waiting, ANSWERED)
    return node.store.join("1", "presence-x", f"{node.name}-{user}", Member(user, "{}"), 0)


def test_a_message_that_is_lost_is_made_good(make_node):  # noqa: F811
    node, other = make_node(), make_node()
    node.join("ann")
    take, node.link.on_message = node.link.on_message, lambda channel, message: None
    bob = join(node, "bob")
    other.join("cat")
    joined = wait(bob, ANSWERED)
    node.link.on_message = take

    assert set(joined.members) >= {"ann", "bob"}
    until("all are known", lambda: node.view() == {"ann", "bob", "cat"}, ANSWERED)
    other.join("dan")
    until("all are known", lambda: node.view() == {"ann", "bob", "cat", "dan"})
    told = node.told()
    assert sorted(told) == ["+ann", "+bob", "+cat", "+dan"]


def test_who_left_unnoticed_does_not_stay_for_ever(make_node):  # noqa: F811
    node, other = make_node(), make_node()
    node.join("ann")
    bob, _ = other.join("bob")
    until("there", lambda: node.view() == {"ann", "bob"})
    pause(3)  # The time in which nodes may still have to come back has passed.
    take, node.link.on_message = node.link.on_message, lambda channel, message: None
    other.leave(bob)
    wait(node.link.call("PING"))
    wait(node.link.catch_up())
    node.link.on_message = take
    other.join("cat")

    until("gone", lambda: node.view() == {"ann", "cat"}, ANSWERED)
    assert node.told() == ["+ann", "+bob", "+cat", "-bob"]


def test_a_connection_for_subscriptions_that_is_half_open_is_found(redis):  # noqa: F811
    proxy = Proxy(redis.port)
    node = Node(proxy.url("half-open")).start()
    node.join("ann")
    began = reactor.seconds()
    proxy.lose(TO_NODE, connection=1)
    bob = join(node, "bob")

    assert set(wait(bob, ANSWERED).members) == {"ann", "bob"}
    assert reactor.seconds() - began < ANSWERED
    node.until_connected()
    assert set(node.members()) == {"ann", "bob"}
    assert node.told() == ["+ann", "+bob"]
    node.stop()
    proxy.stop()


def test_a_user_of_redis_who_may_not_subscribe_leaves_the_node_alone(own_redis):  # noqa: F811
    rights = ("on", ">pass", "~*", "&*", "+@all", "-subscribe")
    own_redis.ask("ACL", "SETUSER", "ann", *rights)
    node = Node(own_redis.url(who="ann:pass@")).start(connected=False)
    until("told", lambda: "NOPERM" in node.broker.unavailable_reason, ANSWERED)

    assert wait(join(node, "ann"), ANSWERED).added
    own_redis.ask("ACL", "SETUSER", "ann", "+subscribe")
    node.until_connected()
    # What it may not do any more it notices with the next subscription.
    own_redis.ask("ACL", "SETUSER", "ann", "-subscribe")
    assert node.broker.subscribe("1", "other") is not None
    until("lost", lambda: not node.broker.connected, ANSWERED)
    assert wait(join(node, "bob"), ANSWERED).added
    node.stop()


def test_how_long_answers_take_and_how_often_it_connects_again_is_counted(own_redis):  # noqa: F811
    node = Node(own_redis.url()).start()
    meters = node.broker.link_meter, node.store.link_meter
    until("answered", lambda: all(sum(meter.latency.counts) for meter in meters))
    assert all(0 <= meter.latency.sum < ANSWERED for meter in meters)
    assert [meter.reconnects for meter in meters] == [0, 0]

    own_redis.kill()
    until("lost", lambda: not node.broker.connected, ANSWERED)
    own_redis.start()
    node.until_connected()
    assert [meter.reconnects for meter in meters] == [1, 1]
    node.stop()


def test_a_change_that_never_happened_is_asked_about_once(make_node, log):  # noqa: F811
    node, other = make_node(), make_node()
    node.join("ann")
    body = ["member", "1", "presence-x", 2**53, "ghost", "{}"]
    wait(
        node.link.call(
            "PUBLISH",
            f"{node.link.url.prefix}:1:presence-x",
            msgspec.msgpack.encode([FORMAT, "zz", body]),
        )
    )
    bob = join(node, "bob")

    assert set(wait(bob, ANSWERED).members) == {"ann", "bob"}
    other.join("cat")
    until("all are known", lambda: node.view() == {"ann", "bob", "cat"}, ANSWERED)
    assert node.told() == ["+ann", "+bob", "+cat"]
    assert len(log.lines("missed a change")) == 1


def test_members_without_a_version_are_believed(make_node):  # noqa: F811
    node, other = make_node(), make_node()
    node.join("ann")
    wait(node.link.call("DEL", f"{node.link.url.prefix}:versions:1"))

    assert set(wait(join(other, "ann"), ANSWERED).members) == {"ann"}
    assert set(wait(join(other, "bob"), ANSWERED).members) == {"ann", "bob"}
    until("all are known", lambda: node.view() == {"ann", "bob"}, ANSWERED)


def test_versions_that_have_gone_backwards_are_noticed(make_node):  # noqa: F811
    node, other = make_node(), make_node()
    node.join("ann")
    until("known", lambda: node.view() == {"ann"})
    wait(node.link.call("HSET", f"{node.link.url.prefix}:versions:1", "presence-x", 5))
    other.join("bob")

    until("all are known", lambda: node.view() == {"ann", "bob"}, ANSWERED)
    assert set(wait(join(node, "cat"), ANSWERED).members) == {"ann", "bob", "cat"}


def test_what_fails_in_answer_to_the_link_does_not_end_it(own_redis, log):  # noqa: F811
    node = Node(own_redis.url()).start(connected=False)

    def fail():
        raise RuntimeError("the test says so")

    node.link.heartbeat_hooks.insert(0, fail)
    node.link.loss_hooks.insert(0, fail)
    node.until_connected()
    until("beaten", log.problems, ANSWERED)
    until("beaten again", log.problems, ANSWERED)
    own_redis.kill()
    until("lost", lambda: not node.store.connected, ANSWERED)
    assert log.problems()
    own_redis.start()
    node.until_connected()
    node.link.heartbeat_hooks.remove(fail)
    node.link.loss_hooks.remove(fail)
    log.problems()
    node.stop()


def test_a_late_list_of_a_channel_that_has_been_left_harms_nobody(make_node):  # noqa: F811
    node = make_node()
    ann, _ = node.join("ann")
    view = node.store._share.views["1", "presence-x"]
    node.leave(ann)
    view.version = None
    view.apply(9, "bob", "{}")
    view.load_snapshot({}, 1)  # It does not explain the change, so the next one is asked for.

    node.join("cat")
    assert node.view() == {"cat"}
