"""The preflight check of Redis: which replies prevent the start."""

import socket
import threading

import pytest

from reverb.redis.preflight import refusal_reason
from reverb.redis.url import parse_redis_url
from tests.support.endless import endless_server
from tests.support.ports import reserve_port


def info(version, mode=b"redis_mode:standalone"):
    text = b"# Server\r\nredis_version:%b\r\n%b\r\n" % (version, mode)
    return b"$%d\r\n%b\r\n" % (len(text), text)


SIX, FIVE = info(b"6.0.0"), info(b"5.0.14")
CLUSTER = info(b"7.0.15", b"redis_mode:cluster")
VALKEY_CLUSTER = info(b"7.2.4", b"server_mode:cluster")
SENTINEL = info(b"7.0.15", b"redis_mode:sentinel")
NO_CLUSTER = "it is a node of a Redis Cluster, which is not supported"
NO_SENTINEL = "it is a sentinel; redis+sentinel://HOST/NAME names the master that it watches"


@pytest.fixture
def start_fake_redis():
    """Start a server that sends one reply for each command, then disconnects."""
    threads, sockets = [], []

    def start(*replies):
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(10)
        sockets.append(listening)

        def run():
            connection, _ = listening.accept()
            with connection:
                for reply in replies:
                    connection.recv(65_536)
                    connection.sendall(reply)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listening.getsockname()[1]

    yield start
    for thread in threads:
        thread.join()
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([b"+OK\r\n", b"+PONG\r\n", SIX], None),
        ([b"+OK\r\n", b"+PONG\r\n", FIVE], "it is Redis 5.0.14, but Redis 6 or newer is required"),
        ([b"+OK\r\n", b"+PONG\r\n", CLUSTER], NO_CLUSTER),
        ([b"+OK\r\n", b"+PONG\r\n", VALKEY_CLUSTER], NO_CLUSTER),
        ([b"+OK\r\n", b"+PONG\r\n", SENTINEL], NO_SENTINEL),
        ([b"+OK\r\n", b"+PONG\r\n", info(b"7.2.4", b"server_mode:standalone")], None),
        ([b"+OK\r\n", b"+PONG\r\n", b"-NOPERM no\r\n"], None),
        ([b"-WRONGPASS no\r\n"], "WRONGPASS no"),
        ([b"+OK\r\n", b"-NOPERM no\r\n"], "NOPERM no"),
        ([b"+OK\r\n", b"-LOADING wait\r\n"], None),
        ([b"-MASTERDOWN wait\r\n"], None),
        ([b"HTTP/1.1 400 Bad Request\r\n"], None),
        ([b""], None),
        ([b"+OK\r\n", b"+PONG\r\n", b":1\r\n"], None),
        ([b"+OK\r\n", b"+PONG\r\n", info(b"9" * 5_000)], None),
        ([b"*1\r\n" * 1_000], None),
        ([b"$-2\r\n"], None),
        ([], None),
    ],
)
def test_replies_decide_about_the_start(start_fake_redis, replies, expected):
    port = start_fake_redis(*replies)
    refusal = refusal_reason(parse_redis_url(f"redis://:secret@127.0.0.1:{port}"))

    start = f"Redis at redis://127.0.0.1:{port}/0 cannot be used: "
    assert refusal == (expected and start + expected)


class TestSentinels:
    @staticmethod
    def refusal(*ports, more=""):
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return refusal_reason(parse_redis_url(f"redis+sentinel://:pw@{hosts}/mymaster{more}"))

    @staticmethod
    def master_reply(port):
        return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)

    def test_the_master_is_checked(self, start_fake_redis):
        master = start_fake_redis(b"-WRONGPASS no\r\n")
        sentinel = start_fake_redis(self.master_reply(master))

        assert self.refusal(sentinel) == (
            f"Redis at 127.0.0.1:{master}, the master of redis+sentinel://127.0.0.1:{sentinel}"
            "/mymaster/0, cannot be used: WRONGPASS no"
        )

    def test_one_sentinel_that_knows_the_master_is_enough(self, start_fake_redis):
        master = start_fake_redis(b"+OK\r\n", b"+PONG\r\n", SIX)
        others = [
            start_fake_redis(reply) for reply in (b"*-1\r\n", b"-NOAUTH no\r\n", b"HTTP/1.1\r\n")
        ]

        sentinel = start_fake_redis(self.master_reply(master))
        assert self.refusal(reserve_port(), *others, sentinel) is None

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            (b"*-1\r\n", "the sentinel at {} knows no master named mymaster"),
            (b"-NOAUTH no\r\n", "the sentinel at {} cannot be used: NOAUTH no"),
            (b"-LOADING wait\r\n", None),
            (b"+OK\r\n", None),
            (b"*2\r\n$1\r\nh\r\n$1\r\nx\r\n", None),
            (b"*2\r\n$1\r\nh\r\n$1\r\n0\r\n", None),
            (b"*2\r\n$1\r\nh\r\n$5\r\n65536\r\n", None),
            (b"*2\r\n$1\r\nh\r\n$5000\r\n" + b"1" * 5_000 + b"\r\n", None),
            (b"*2\r\n$1\r\n\xff\r\n$1\r\n1\r\n", None),
            (b"HTTP/1.1 400 Bad Request\r\n", None),
            (b"", None),
        ],
    )
    def test_a_sentinel_that_names_no_master(self, start_fake_redis, reply, expected):
        port = start_fake_redis(reply)

        assert self.refusal(port) == (expected and expected.format(f"127.0.0.1:{port}"))

    def test_the_sentinel_user_logs_in(self, start_fake_redis):
        port = start_fake_redis(b"-WRONGPASS no\r\n")
        refusal = self.refusal(port, more="?sentinel_user=sam&sentinel_password=secret")

        assert refusal == f"the sentinel at 127.0.0.1:{port} cannot be used: WRONGPASS no"


def test_an_unreachable_redis_does_not_prevent_the_start():
    assert refusal_reason(parse_redis_url(f"redis://127.0.0.1:{reserve_port()}")) is None
    assert refusal_reason(parse_redis_url("unix:///nowhere/redis.sock")) is None


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel"])
@pytest.mark.parametrize(
    ("beginning", "portion"),
    [(b"", b"+x"), (b"$9999999999\r\n", b"x"), (b"*9999999\r\n", b":1\r\n"), (b"-", b"x")],
)
def test_a_reply_without_end_does_not_prevent_the_start(scheme, beginning, portion):
    with endless_server(beginning, portion * 10_000) as server:
        url = f"{scheme}://:secret@127.0.0.1:{server.port}/" + "mymaster" * ("+" in scheme)
        assert refusal_reason(parse_redis_url(url)) is None
        assert not server.gave_up
