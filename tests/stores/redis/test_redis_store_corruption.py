"""What a node makes of Redis holding what no node has put there."""

import pytest

from redis_nodes import make_node, redis, until, wait  # noqa: F401
from reverb.interfaces import ChannelCounts, ChannelReaped, StoreRefusedError

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def node(make_node, log):  # noqa: F811
    return make_node(lease=1)


@pytest.fixture
def put(redis, node):  # noqa: F811
    """Do something to a key of the deployment."""

    def put(command, key, *more):
        return wait(node.link.call(command, f"{node.link.url.prefix}:{key}", *more))

    return put


def test_a_join_that_is_refused_leaves_nothing(node, put, log):
    put("SET", "members:1:presence-t", "x")
    with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
        node.join("ann", "presence-t")

    assert node.broker.connected
    assert node.store.session.token is not None
    assert not node.store._share.channels
    until("put right", lambda: not put("HEXISTS", "channels:1", "presence-t"))
    assert put("HKEYS", f"held:{node.name}") == []
    assert log.lines("in Redis: join 1 presence-t failed: ")
    put("DEL", "members:1:presence-t")
    assert node.join("ann", "presence-t")[1].added
    assert wait(node.store.counts("1", "presence-t")) == ChannelCounts(1, 1)


def test_a_question_that_is_refused_ends_no_connection(node, put, log):
    put("SET", "members:1:presence-t", "x")
    token = node.store.session.token
    for _ in range(5):
        with pytest.raises(StoreRefusedError, match="members 1 presence-t failed: "):
            node.members("presence-t")

    assert node.store.session.token == token
    assert len(log.lines("in Redis: members 1 presence-t failed: ")) == 1


def test_who_leaves_a_channel_that_is_spoilt_has_left(node, put, log):
    ann, _ = node.join("ann", "presence-t")
    put("SET", "members:1:presence-t", "x")

    assert node.leave(ann, "presence-t").vacated
    until("put right", lambda: not put("HEXISTS", "channels:1", "presence-t"))
    assert node.broker.connected


def test_a_node_with_a_spoilt_channel_registers_the_rest(node, put, log):
    node.join("ann", "presence-t")
    node.join("bob", "presence-u")
    put("SET", "members:1:presence-t", "x")
    put("HDEL", f"held:{node.name}", "1:presence-u")
    put("DEL", "channels:1")
    node.link.reset("the test says so")

    node.until_connected()
    assert wait(node.store.counts("1", "presence-u")).subscriptions == 1


def test_a_connection_is_counted_here_when_it_cannot_be_counted_in_redis(node, put, log):
    put("HSET", "connections", "1", "many")

    assert wait(node.store.connect("1", "1.1", 1))
    wait(node.store.disconnect("1", "1.1"))
    assert node.broker.connected


def test_a_dead_node_that_cannot_be_taken_back_is_tried_again(make_node, node, put, log):  # noqa: F811
    dead = make_node(lease=1)
    dead.join("ann", "presence-t")
    dead.join("bob", "presence-u")
    put("SET", "members:1:presence-t", "x")
    dead.die()
    until(
        "the rest is told",
        lambda: ChannelReaped("1", "presence-u", ("bob",), vacated=True) in node.changes,
    )
    assert len(log.lines(f"in Redis: node {dead.name} cannot be taken back: 1:presence-t: ")) == 1
    assert put("SISMEMBER", "nodes", dead.name)
    put("DEL", "members:1:presence-t")

    until("taken back", lambda: not put("SISMEMBER", "nodes", dead.name))
    assert wait(node.store.channels("1", "")) == {}
    assert node.broker.connected


def test_what_cannot_be_read_is_passed_over_and_logged_once(node, put, log):
    node.join("ann", "presence-t")
    put("HSET", "members:1:presence-t", b"\xff\xfe", "{}")
    put("HSET", "channels:1", b"\xff", 1, "news", "many")
    for _ in range(3):
        assert node.members("presence-t") == {"ann": "{}"}
        assert wait(node.store.channels("1", "")) == {"presence-t": ChannelCounts(1, 2)}
        assert wait(node.store.counts("1", "news")) == ChannelCounts(0, 0)

    lines = log.lines("in Redis: ")
    assert len(lines) == len(set(lines)) == 3
    assert any("members:1:presence-t" in line for line in lines)
    assert sum("channels:1 holds" in line for line in lines) == 2


def test_members_that_cannot_be_read_keep_nobody_out(make_node, node, put, log):  # noqa: F811
    put("HSET", "members:1:presence-t", b"\xff\xfe", "{}")
    put("HSET", "versions:1", "presence-t", "new")

    assert dict(node.join("ann", "presence-t")[1].members) == {"ann": "{}"}
    assert dict(make_node().join("bob", "presence-t")[1].members) == {"ann": "{}", "bob": "{}"}


@pytest.mark.parametrize("spoilt", [b"\x01garbage", b"\xc1", b"\x92\xa1\xff\xa1x", b""])
def test_a_cached_event_that_cannot_be_read_is_as_none(node, put, log, spoilt):
    put("SET", "cache:1:cache-t", spoilt)
    for _ in range(2):
        assert wait(node.store.get_cached_event("1", "cache-t")) is None
    assert node.broker.connected
    assert len(log.lines("in Redis: cache:1:cache-t holds")) == 1
    wait(node.store.cache_event("1", "cache-t", "e", "1", 60))
    assert wait(node.store.get_cached_event("1", "cache-t")).data == "1"


def test_a_node_registers_and_renews_whatever_names_are_in_redis(node, put, log):
    node.join("ann", "presence-t")
    put("HSET", f"held:{node.name}", b"1:\xff", 1)
    put("SADD", "nodes", b"\xfe")
    node.link.reset("the test says so")

    node.until_connected()
    until("what is no node is forgotten", lambda: not put("SISMEMBER", "nodes", b"\xfe"))
    assert node.members("presence-t") == {"ann": "{}"}
