"""What a node makes of a Redis that refuses what it is asked, and what the operator hears of it."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from redis_nodes import Node, own_redis, until, wait  # noqa: F401
from redis_server import RedisServer
from reverb.interfaces import ChannelCounts, StoreRefusedError
from reverb.redis.connections import RedisReplyError
from reverb.redis.session import RedisSession
from reverb.stores.redis.scripts import COUNTS

FULL = "OOM command not allowed when used memory > 'maxmemory'."
OLD = "ERR Error running script (call to f_0a1b): @user_script:79: @user_script: 79: "
NEW = " script: 0a1b, on @user_script:79."
OF_VALKEY = " script: on @user_script:79."


class Refusing:
    """A link to a Redis that has one answer to everything."""

    node, url = "n", Mock(prefix="p")

    def __init__(self, answer):
        self.answer = answer
        self.clock = Clock()
        self.reset = Mock()

    def call(self, *_):
        return fail(RedisReplyError(self.answer))


def ask(answer):
    link = Refusing(answer)
    session = RedisSession(link)
    session.token = "t"
    asking = Deferred.fromCoroutine(session.call(COUNTS, "1", "news"))
    return link, asking.addErrback(lambda failure: failure.value).result


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (FULL, FULL),
        (f"{OLD}-{FULL}", FULL),
        (f"{FULL}{NEW}", FULL),
        (f"{FULL}{OF_VALKEY}", FULL),
        (f"{OLD}The user executing the script can't run this", None),
        (f"ERR The user executing the script can't run this{NEW}", None),
        (f"ERR ACL failure in script: User e has no permissions{OF_VALKEY}", None),
        ("LOST the lease of this node has expired", None),
    ],
)
def test_what_concerns_all_begins_a_new_session_and_is_told_plainly(answer, told):
    link, _ = ask(answer)

    (why,) = link.reset.call_args.args
    assert "user_script" not in why
    assert why == (told or why)


@pytest.mark.parametrize(
    "answer",
    [
        f"{OLD}WRONGTYPE Operation against a key holding the wrong kind of value",
        "WRONGTYPE Operation against a key holding the wrong kind of value" + NEW,
        f"{OLD}user_script:79: attempt to compare nil with number",
        "ERR user_script:79: attempt to compare nil with number" + NEW,
        f"{OLD}ERR hash value is not an integer",
    ],
)
def test_what_concerns_one_question_is_told_with_the_place(answer):
    link, error = ask(answer)

    link.reset.assert_not_called()
    assert isinstance(error, StoreRefusedError)
    assert str(error) == f"counts 1 news failed: {answer}"


@pytest.mark.outside_reactor
class TestRealRedis:
    def test_a_redis_that_is_full_is_as_one_that_is_away(self, own_redis):  # noqa: F811
        node = Node(own_redis.url()).start()
        node.join("ann")
        own_redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        own_redis.ask("CONFIG", "SET", "maxmemory", "1")
        _, joined = node.join("bob")
        assert set(joined.members) == {"ann", "bob"}
        until("told", lambda: node.broker.unavailable_reason == f"Redis is not connected: {FULL}")
        own_redis.ask("CONFIG", "SET", "maxmemory", "0")

        node.until_connected()
        assert node.members() == {"ann": "{}", "bob": "{}"}
        assert wait(node.store.counts("1", "presence-x")) == ChannelCounts(2, 2)
        node.stop()

    def test_a_replica_is_waited_for_until_it_is_the_master(self, own_redis, tmp_path):  # noqa: F811
        directory = tmp_path / "replica"
        directory.mkdir()
        replica = RedisServer(directory, "--replicaof", "127.0.0.1", str(own_redis.port))
        until("in step", lambda: "state=online" in own_redis.ask("INFO", "replication"))
        node = Node(replica.url()).start(connected=False)
        why = "Redis is not connected: READONLY You can't write against a read only replica."
        until("told", lambda: node.broker.unavailable_reason == why)
        replica.ask("REPLICAOF", "NO", "ONE")

        node.until_connected()
        node.stop()
        replica.kill()
