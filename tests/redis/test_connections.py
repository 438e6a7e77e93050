"""The connections to Redis: what a server may send."""

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from reverb.brokers.link import LinkLostError
from reverb.redis.connections import CommandConnection, RedisConnection, SubscriberConnection
from reverb.redis.resp import MAX_HANDSHAKE_BYTES


@pytest.fixture
def connect():
    def connect(connection):
        transport = StringTransport()
        connection.makeConnection(transport)
        connection.ended = []
        connection.lost.addCallback(connection.ended.append)
        return connection

    return connect


def feed(connection, data, size=65_536, most=1_000):
    """Send data in pieces until the connection ends; return the number of pieces."""
    for number, start in enumerate(range(0, len(data), size)):
        if connection.ended:
            return number
        assert number < most
        connection.dataReceived(data[start : start + size])
    return most


REPLIES_WITHOUT_END = [
    b"+" + b"x" * 200_000,
    b"-" + b"x" * 200_000,
    b"$9999999999\r\n" + b"x" * 200_000,
    b"*9999999\r\n" + b":1\r\n" * 100_000,
    b"*2\r\n*99999\r\n" + b"$1\r\nx\r\n" * 100_000,
]


@pytest.mark.parametrize("data", REPLIES_WITHOUT_END)
@pytest.mark.parametrize(
    "make",
    [RedisConnection, lambda: CommandConnection(Clock()), lambda: SubscriberConnection(print)],
    ids=["sentinel", "commands", "subscriptions"],
)
def test_a_reply_without_end_closes_the_connection(connect, make, data):
    connection = connect(make())
    failures = []
    connection.call("PING").addErrback(failures.append)
    assert feed(connection, data) <= 2
    assert str(connection.ended[0]) == f"it sent a reply of over {MAX_HANDSHAKE_BYTES} bytes"
    assert failures[0].check(LinkLostError)
    assert connection.transport.disconnected


def test_the_limit_is_raised_after_the_login(connect):
    connection = connect(RedisConnection())
    connection.max_reply_bytes = 300_000
    replies = []
    connection.call("GET", "a").addCallback(replies.append)
    feed(connection, b"$200000\r\n" + b"x" * 200_000 + b"\r\n")
    assert replies == [b"x" * 200_000]
    feed(connection, b"$9999999\r\n" + b"x" * 400_000)
    assert str(connection.ended[0]) == "it sent a reply of over 300000 bytes"


def test_each_reply_and_each_message_has_its_own_limit(connect):
    messages = []
    connection = connect(SubscriberConnection(lambda name, content: messages.append(content)))
    for _ in range(10):
        feed(connection, b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$30000\r\n" + b"x" * 30_000 + b"\r\n")
    assert len(messages) == 10
    assert not connection.ended


@pytest.mark.parametrize(
    "data",
    [b"*1\r\n" * 10_000, b"$-2\r\n", b"$x\r\n", b"HTTP/1.1 400\r\n", b"*-5\r\n"],
)
def test_another_protocol_closes_the_connection(connect, data):
    connection = connect(RedisConnection())
    feed(connection, data)
    assert str(connection.ended[0]) == "the server there does not speak the Redis protocol"


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n$7\r\nmessage\r\n",
        b"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-1\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n*0\r\n:1\r\n",
        b"*2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n",
        b"*0\r\n",
        b"+" + b"x" * 1_000 + b"\r\n",
    ],
)
def test_a_malformed_message_closes_the_connection(connect, data):
    connection = connect(SubscriberConnection(lambda *_: pytest.fail("delivered")))
    feed(connection, data)
    assert len(str(connection.ended[0])) <= 200
