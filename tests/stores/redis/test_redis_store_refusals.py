"""A node whose Redis refuses commands, and the messages that the operator gets."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from reverb.interfaces import ChannelCounts, StoreRefusedError
from reverb.meter import LinkMeter
from reverb.redis.resp import RedisReplyError
from reverb.redis.session import RedisSession
from reverb.stores.redis.scripts import COUNTS
from tests.support.redis_nodes import RedisNode
from tests.support.redis_server import RedisServer
from tests.support.waiting import until, wait

OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
FRAME_BEFORE_7 = "ERR Error running script (call to f_0a1b): @user_script:79: @user_script: 79: "
FRAME_SINCE_7 = " script: 0a1b, on @user_script:79."
FRAME_OF_VALKEY = " script: on @user_script:79."


class RefusingLink:
    """A link to a Redis that replies to every command with the same error."""

    node, url = "n", Mock(prefix="p")

    def __init__(self, error_text):
        self.error_text = error_text
        self.clock = Clock()
        self.command_meter = LinkMeter()
        self.reset = Mock()

    def call(self, *_):
        return fail(RedisReplyError(self.error_text))


def call(error_text):
    link = RefusingLink(error_text)
    session = RedisSession(link)
    session.begin("t")
    calling = Deferred.fromCoroutine(session.call(COUNTS, "1", "news"))
    return link, calling.addErrback(lambda failure: failure.value).result


@pytest.mark.parametrize(
    ("error_text", "expected"),
    [
        (OUT_OF_MEMORY, OUT_OF_MEMORY),
        (f"{FRAME_BEFORE_7}-{OUT_OF_MEMORY}", OUT_OF_MEMORY),
        (f"{OUT_OF_MEMORY}{FRAME_SINCE_7}", OUT_OF_MEMORY),
        (f"{OUT_OF_MEMORY}{FRAME_OF_VALKEY}", OUT_OF_MEMORY),
        (f"{FRAME_BEFORE_7}The user executing the script can't run this", None),
        (f"ERR The user executing the script can't run this{FRAME_SINCE_7}", None),
        (f"ERR ACL failure in script: User e has no permissions{FRAME_OF_VALKEY}", None),
        ("LOST the lease of this node has expired", None),
    ],
)
def test_an_error_of_the_whole_session_resets_the_link_with_a_plain_message(error_text, expected):
    link, _ = call(error_text)

    (why,) = link.reset.call_args.args
    assert "user_script" not in why
    assert why == (expected or why)


@pytest.mark.parametrize(
    "error_text",
    [
        f"{FRAME_BEFORE_7}WRONGTYPE Operation against a key holding the wrong kind of value",
        "WRONGTYPE Operation against a key holding the wrong kind of value" + FRAME_SINCE_7,
        f"{FRAME_BEFORE_7}user_script:79: attempt to compare nil with number",
        "ERR user_script:79: attempt to compare nil with number" + FRAME_SINCE_7,
        f"{FRAME_BEFORE_7}ERR hash value is not an integer",
    ],
)
def test_an_error_of_one_query_is_reported_with_the_operation_and_channel(error_text):
    link, error = call(error_text)

    link.reset.assert_not_called()
    assert isinstance(error, StoreRefusedError)
    assert str(error) == f"counts 1 news failed: {error_text}"


@pytest.mark.outside_reactor
class TestRealRedis:
    def test_a_full_redis_counts_as_unavailable(self, own_redis):
        node = RedisNode(own_redis.url()).start()
        node.join("ann")
        own_redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        own_redis.ask("CONFIG", "SET", "maxmemory", "1")
        _, joined = node.join("bob")
        assert set(joined.members) == {"ann", "bob"}
        until(
            "the reason is reported",
            lambda: node.broker.unavailable_reason == f"Redis is not connected: {OUT_OF_MEMORY}",
        )
        own_redis.ask("CONFIG", "SET", "maxmemory", "0")

        node.until_connected()
        assert node.members() == {"ann": "{}", "bob": "{}"}
        assert wait(node.store.counts("1", "presence-x")) == ChannelCounts(2, 2)
        node.stop()

    def test_a_node_waits_until_a_replica_becomes_the_master(self, own_redis, tmp_path):
        directory = tmp_path / "replica"
        directory.mkdir()
        replica = RedisServer(directory, "--replicaof", "127.0.0.1", str(own_redis.port))
        until(
            "the replica is online", lambda: "state=online" in own_redis.ask("INFO", "replication")
        )
        node = RedisNode(replica.url()).start(connected=False)
        why = "Redis is not connected: READONLY You can't write against a read only replica."
        until("the reason is reported", lambda: node.broker.unavailable_reason == why)
        replica.ask("REPLICAOF", "NO", "ONE")

        node.until_connected()
        node.stop()
        replica.kill()
