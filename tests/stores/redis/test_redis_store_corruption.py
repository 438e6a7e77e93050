"""A node whose Redis contains corrupt data, as written by another program."""

import msgspec
import pytest

from reverb.envelope import BusMessage, MemberChange
from reverb.interfaces import ChannelCounts, StoreRefusedError
from reverb.protocol.changes import ChannelReaped
from tests.support.waiting import until, wait

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def node(make_redis_node, log):
    return make_redis_node(lease=1)


@pytest.fixture
def put(redis, node):
    """Run a command on a key of the deployment."""

    def put(command, key, *more):
        return wait(node.link.call(command, f"{node.link.url.prefix}:{key}", *more))

    return put


def test_a_refused_join_leaves_no_trace(node, put, log):
    put("SET", "members:1:presence-t", "x")
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        node.join("ann", "presence-t")

    assert node.broker.connected
    assert node.store.session.token is not None
    assert not node.store._local_state.channels
    until("resynchronized", lambda: not put("HEXISTS", "channels:1", "presence-t"))
    assert put("HKEYS", f"held:{node.name}") == []
    assert log.lines("in Redis: join 1 presence-t failed: ")
    put("DEL", "members:1:presence-t")
    assert node.join("ann", "presence-t")[1].added
    assert wait(node.store.counts("1", "presence-t")) == ChannelCounts(1, 1)


def test_a_refused_query_ends_no_connection(node, put, log):
    put("SET", "members:1:presence-t", "x")
    token = node.store.session.token
    for _ in range(5):
        with pytest.raises(StoreRefusedError, match="members 1 presence-t failed: "):
            node.members("presence-t")

    assert node.store.session.token == token
    assert len(log.lines("in Redis: members 1 presence-t failed: ")) == 1


def test_a_subscriber_can_leave_a_corrupt_channel(node, put, log):
    ann, _ = node.join("ann", "presence-t")
    put("SET", "members:1:presence-t", "x")

    assert node.leave(ann, "presence-t").vacated
    until("resynchronized", lambda: not put("HEXISTS", "channels:1", "presence-t"))
    assert node.broker.connected


def test_a_node_with_a_corrupt_channel_registers_the_others(node, put, log):
    node.join("ann", "presence-t")
    node.join("bob", "presence-u")
    put("SET", "members:1:presence-t", "x")
    put("HDEL", f"held:{node.name}", "1:presence-u")
    put("DEL", "channels:1")
    node.link.reset("the test says so")

    node.until_connected()
    assert wait(node.store.counts("1", "presence-u")).subscriptions == 1


def test_a_connection_is_counted_locally_when_redis_refuses(node, put, log):
    put("HSET", "connections", "1", "many")

    assert wait(node.store.connect("1", "1.1", 1))
    wait(node.store.disconnect("1", "1.1"))
    assert node.broker.connected


def test_reaping_that_failed_is_tried_again(make_redis_node, node, put, log):
    dead = make_redis_node(lease=1)
    dead.join("ann", "presence-t")
    dead.join("bob", "presence-u")
    put("SET", "members:1:presence-t", "x")
    dead.die()
    until(
        "the other channel is reaped",
        lambda: ChannelReaped("1", "presence-u", ("bob",), vacated=True) in node.changes,
    )
    assert (
        len(log.lines(f"in Redis: node {dead.name} cannot be reaped completely: 1:presence-t: "))
        == 1
    )
    assert put("SISMEMBER", "nodes", dead.name)
    put("DEL", "members:1:presence-t")

    until("completely reaped", lambda: not put("SISMEMBER", "nodes", dead.name))
    assert wait(node.store.channels("1", "")) == {}
    assert node.broker.connected


def test_undecodable_values_are_skipped_and_logged_once(node, put, log):
    node.join("ann", "presence-t")
    put("HSET", "members:1:presence-t", b"\xff\xfe", "{}")
    put("HSET", "channels:1", b"\xff", 1, "news", "many")
    for _ in range(3):
        assert node.members("presence-t") == {"ann": "{}"}
        assert wait(node.store.channels("1", "")) == {"presence-t": ChannelCounts(1, 2)}
        assert wait(node.store.counts("1", "news")) == ChannelCounts(0, 0)

    lines = log.lines("in Redis: ")
    assert len(lines) == len(set(lines)) == 2
    assert any("members:1:presence-t" in line for line in lines)
    assert sum("channels:1 holds" in line for line in lines) == 1


def test_undecodable_members_do_not_prevent_joins(make_redis_node, node, put, log):
    put("HSET", "members:1:presence-t", b"\xff\xfe", "{}")
    put("HSET", "versions:1", "presence-t", "new")

    assert dict(node.join("ann", "presence-t")[1].members) == {"ann": "{}"}
    assert dict(make_redis_node().join("bob", "presence-t")[1].members) == {
        "ann": "{}",
        "bob": "{}",
    }


@pytest.mark.parametrize("corrupt", [b"\x01garbage", b"\xc1", b"\x92\xa1\xff\xa1x", b""])
def test_an_undecodable_cached_event_counts_as_none(node, put, log, corrupt):
    put("SET", "cache:1:cache-t", corrupt)
    for _ in range(2):
        assert wait(node.store.get_cached_event("1", "cache-t")) is None
    assert node.broker.connected
    assert len(log.lines("in Redis: cache:1:cache-t holds")) == 1
    wait(node.store.cache_event("1", "cache-t", "e", "1", 60))
    assert wait(node.store.get_cached_event("1", "cache-t")).data == "1"


def test_a_node_registers_despite_undecodable_names(node, put, log):
    node.join("ann", "presence-t")
    put("HSET", f"held:{node.name}", b"1:\xff", 1)
    put("SADD", "nodes", b"\xfe")
    node.link.reset("the test says so")

    node.until_connected()
    until("the undecodable node is removed", lambda: not put("SISMEMBER", "nodes", b"\xfe"))
    assert node.members("presence-t") == {"ann": "{}"}


BAD_INFOS = ["x", "", "[1]", "null", '{},"eve":{}', '{"a":tru}']


@pytest.mark.parametrize("info", BAD_INFOS)
def test_a_member_whose_user_info_is_no_object_is_skipped(make_redis_node, node, put, log, info):
    node.join("ann", "presence-t")
    put("HSET", "members:1:presence-t", "eve", info, "", "{}")

    assert node.members("presence-t") == {"ann": "{}"}
    newcomer = make_redis_node()
    assert dict(newcomer.join("bob", "presence-t")[1].members) == {"ann": "{}", "bob": "{}"}
    assert node.store.link_meter.corrupt == 2
    assert newcomer.store.link_meter.corrupt == 2
    assert len(log.lines("in Redis: members:1:presence-t holds corrupt data: ")) == 2


@pytest.mark.parametrize("info", BAD_INFOS)
def test_a_member_change_with_a_user_info_that_is_no_object_is_dropped(node, put, log, info):
    node.join("ann", "presence-t")
    node.subscribe("presence-t")
    version = int(put("HGET", "versions:1", "presence-t"))
    change = MemberChange("1", "presence-t", version + 1, "eve", info)
    # Its sender claims to be this node, whose own publications need no check.
    for sender in ("other", node.name):
        message = msgspec.msgpack.encode(BusMessage(1, sender, change))
        put("PUBLISH", "1:presence-t", message)
    wait(node.link.catch_up())

    assert dict(node.store._local_state.members(("1", "presence-t"))) == {"ann": "{}"}
    assert node.broker.link_meter.dropped == 2
    (line,) = log.lines("dropped ")
    assert "presence-t" in line
    assert "the user_info is invalid" in line


BAD_COUNTS = ["-5", "many", "1.5", "1e300", "nan", "0x10", "99999999999", "9" * 400, "", b"\xff"]


@pytest.mark.parametrize("count", BAD_COUNTS)
def test_a_count_that_cannot_be_right_is_not_reported(node, put, log, count):
    wait(node.store.connect("1", "1.1", 0))
    node.join("ann", "presence-t")
    put("HSET", "channels:1", "presence-t", count, "news", count)
    put("HSET", "connections", "1", count)

    assert wait(node.store.counts("1", "presence-t")).subscriptions == 1
    assert wait(node.store.counts("1", "news")) == ChannelCounts(0, 0)
    assert wait(node.store.connections("1")) == 1
    assert wait(node.store.channels("1", "")) == {}
    assert node.broker.connected
    assert len(log.lines("in Redis: channels:1 holds corrupt data: ")) == 1
    assert len(log.lines("in Redis: connections holds corrupt data: ")) == 1
    assert node.store.link_meter.corrupt == 5


def test_a_join_and_a_leave_report_no_count_that_cannot_be_right(node, put, log):
    node.join("ann", "presence-t")
    put("HSET", "channels:1", "presence-t", 99_999_999_999)
    bob, joined = node.join("bob", "presence-t")
    assert joined.subscriptions == 2
    assert node.leave(bob, "presence-t").subscriptions == 1


@pytest.mark.parametrize("name", ["<b>", "a b", "", "#x", "a:b", "news\n", "\u00e9"])
def test_a_name_that_no_channel_can_have_is_not_listed(node, put, log, name):
    node.join("ann", "presence-t")
    put("HSET", "channels:1", name, 1)
    assert wait(node.store.channels("1", "")) == {"presence-t": ChannelCounts(1, 1)}
    assert log.lines("in Redis: channels:1 holds corrupt data: ")


@pytest.mark.parametrize("name", ["", "pusher:error", "pusher_internal:member_added"])
def test_a_cached_event_with_a_name_of_the_protocol_counts_as_none(node, put, log, name):
    put("SET", "cache:1:cache-t", msgspec.msgpack.encode((name, "1")), "EX", 60)
    assert wait(node.store.get_cached_event("1", "cache-t")) is None
    assert len(log.lines("in Redis: cache:1:cache-t holds")) == 1


def test_a_cached_event_that_does_not_expire_counts_as_none(node, put, log):
    put("SET", "cache:1:cache-t", msgspec.msgpack.encode(("pusherish", "1")))
    assert wait(node.store.get_cached_event("1", "cache-t")) is None
    put("EXPIRE", "cache:1:cache-t", 2**31)
    assert wait(node.store.get_cached_event("1", "cache-t")).event == "pusherish"
