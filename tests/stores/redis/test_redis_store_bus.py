"""A node whose Redis subscriptions lose messages, fail or deliver corrupt ones."""

import msgspec
import pytest
from twisted.internet import reactor

from reverb.envelope import FORMAT
from reverb.protocol.messages import Member
from tests.support.proxy import TO_NODE, Proxy
from tests.support.redis_nodes import RedisNode
from tests.support.waiting import pause, until, wait

pytestmark = pytest.mark.outside_reactor

ANSWER_TIMEOUT = 10
"""Seconds within which every subscription must be answered."""


def join(node, user):
    waiting = node.broker.subscribe("1", "presence-x")
    if waiting is not None:
        wait(waiting, ANSWER_TIMEOUT)
    return node.store.join("1", "presence-x", f"{node.name}-{user}", Member(user, "{}"), 0)


def test_a_lost_message_is_repaired(make_redis_node):
    node, other = make_redis_node(), make_redis_node()
    node.join("ann")
    on_message, node.link.on_message = node.link.on_message, lambda channel, message: None
    bob = join(node, "bob")
    other.join("cat")
    joined = wait(bob, ANSWER_TIMEOUT)
    node.link.on_message = on_message

    assert set(joined.members) >= {"ann", "bob"}
    until("all members are known", lambda: node.view() == {"ann", "bob", "cat"}, ANSWER_TIMEOUT)
    other.join("dan")
    until("all members are known", lambda: node.view() == {"ann", "bob", "cat", "dan"})
    changes = node.member_changes()
    assert sorted(changes) == ["+ann", "+bob", "+cat", "+dan"]


def test_a_member_whose_departure_was_lost_is_removed(make_redis_node):
    node, other = make_redis_node(), make_redis_node()
    node.join("ann")
    bob, _ = other.join("bob")
    until("bob is a member", lambda: node.view() == {"ann", "bob"})
    pause(3)  # The grace period after a connect has passed.
    on_message, node.link.on_message = node.link.on_message, lambda channel, message: None
    other.leave(bob)
    wait(node.link.call("PING"))
    wait(node.link.catch_up())
    node.link.on_message = on_message
    other.join("cat")

    until("bob has left", lambda: node.view() == {"ann", "cat"}, ANSWER_TIMEOUT)
    assert node.member_changes() == ["+ann", "+bob", "+cat", "-bob"]


def test_a_half_open_subscriber_connection_is_detected(redis):
    proxy = Proxy(redis.port)
    node = RedisNode(proxy.url("half-open")).start()
    node.join("ann")
    began = reactor.seconds()
    proxy.lose(TO_NODE, connection=1)
    bob = join(node, "bob")

    assert set(wait(bob, ANSWER_TIMEOUT).members) == {"ann", "bob"}
    assert reactor.seconds() - began < ANSWER_TIMEOUT
    node.until_connected()
    assert set(node.members()) == {"ann", "bob"}
    assert node.member_changes() == ["+ann", "+bob"]
    node.stop()
    proxy.stop()


def test_without_permission_to_subscribe_the_node_runs_degraded(own_redis):
    rights = ("on", ">pass", "~*", "&*", "+@all", "-subscribe")
    own_redis.ask("ACL", "SETUSER", "ann", *rights)
    node = RedisNode(own_redis.url(credentials="ann:pass@")).start(connected=False)
    until(
        "the reason is reported", lambda: "NOPERM" in node.broker.unavailable_reason, ANSWER_TIMEOUT
    )

    assert wait(join(node, "ann"), ANSWER_TIMEOUT).added
    own_redis.ask("ACL", "SETUSER", "ann", "+subscribe")
    node.until_connected()
    # The node notices a withdrawn permission at its next subscription.
    own_redis.ask("ACL", "SETUSER", "ann", "-subscribe")
    assert node.broker.subscribe("1", "other") is not None
    until("the loss is detected", lambda: not node.broker.connected, ANSWER_TIMEOUT)
    assert wait(join(node, "bob"), ANSWER_TIMEOUT).added
    node.stop()


def test_latency_and_reconnects_are_counted(own_redis):
    node = RedisNode(own_redis.url()).start()
    meters = node.broker.link_meter, node.store.link_meter
    until("both have answered", lambda: all(sum(meter.latency.counts) for meter in meters))
    assert all(0 <= meter.latency.sum < ANSWER_TIMEOUT for meter in meters)
    assert [meter.reconnects for meter in meters] == [0, 0]

    own_redis.kill()
    until("the loss is detected", lambda: not node.broker.connected, ANSWER_TIMEOUT)
    own_redis.start()
    node.until_connected()
    assert [meter.reconnects for meter in meters] == [1, 1]
    node.stop()


def test_a_change_that_never_happened_is_refetched_once(make_redis_node, log):
    node, other = make_redis_node(), make_redis_node()
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

    assert set(wait(bob, ANSWER_TIMEOUT).members) == {"ann", "bob"}
    other.join("cat")
    until("all members are known", lambda: node.view() == {"ann", "bob", "cat"}, ANSWER_TIMEOUT)
    assert node.member_changes() == ["+ann", "+bob", "+cat"]
    assert len(log.lines("missed a change")) == 1


def test_members_without_a_version_are_accepted(make_redis_node):
    node, other = make_redis_node(), make_redis_node()
    node.join("ann")
    wait(node.link.call("DEL", f"{node.link.url.prefix}:versions:1"))

    assert set(wait(join(other, "ann"), ANSWER_TIMEOUT).members) == {"ann"}
    assert set(wait(join(other, "bob"), ANSWER_TIMEOUT).members) == {"ann", "bob"}
    until("all members are known", lambda: node.view() == {"ann", "bob"}, ANSWER_TIMEOUT)


def test_versions_that_went_backwards_are_noticed(make_redis_node):
    node, other = make_redis_node(), make_redis_node()
    node.join("ann")
    until("ann is known", lambda: node.view() == {"ann"})
    wait(node.link.call("HSET", f"{node.link.url.prefix}:versions:1", "presence-x", 5))
    other.join("bob")

    until("all members are known", lambda: node.view() == {"ann", "bob"}, ANSWER_TIMEOUT)
    assert set(wait(join(node, "cat"), ANSWER_TIMEOUT).members) == {"ann", "bob", "cat"}


def test_a_failing_hook_does_not_end_the_link(own_redis, log):
    node = RedisNode(own_redis.url()).start(connected=False)

    def fail():
        raise RuntimeError("the test says so")

    node.link.heartbeat_hooks.insert(0, fail)
    node.link.loss_hooks.insert(0, fail)
    node.until_connected()
    until("the first heartbeat has failed", log.problems, ANSWER_TIMEOUT)
    until("another heartbeat has failed", log.problems, ANSWER_TIMEOUT)
    own_redis.kill()
    until("the loss is detected", lambda: not node.store.connected, ANSWER_TIMEOUT)
    assert log.problems()
    own_redis.start()
    node.until_connected()
    node.link.heartbeat_hooks.remove(fail)
    node.link.loss_hooks.remove(fail)
    log.problems()
    node.stop()


def test_a_late_snapshot_of_a_channel_without_subscriptions_is_ignored(make_redis_node):
    node = make_redis_node()
    ann, _ = node.join("ann")
    replica = node.store._local_state.replicas["1", "presence-x"]
    node.leave(ann)
    replica.version = None
    replica.apply(9, "bob", "{}")
    replica.load_snapshot({}, 1)  # Without bob, so another one is requested.

    node.join("cat")
    assert node.view() == {"cat"}
