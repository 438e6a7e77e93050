"""What a Redis says to a server that starts, and what that means for the start."""

import socket
import threading

import pytest

from reverb.redis_check import refusal_of
from reverb.redis_url import parse_redis_url


def info(version):
    text = b"# Server\r\nredis_version:%b\r\nredis_mode:standalone\r\n" % version
    return b"$%d\r\n%b\r\n" % (len(text), text)


SIX, FIVE = info(b"6.0.0"), info(b"5.0.14")


@pytest.fixture
def answering():
    """Start something that gives an answer to each command, then ends the connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(10)
    threads = []

    def start(*answers):
        def run():
            connection, _ = listening.accept()
            with connection:
                for answer in answers:
                    connection.recv(65_536)
                    connection.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listening.getsockname()[1]

    yield start
    for thread in threads:
        thread.join()
    listening.close()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([b"+OK\r\n", b"+PONG\r\n", SIX], None),
        ([b"+OK\r\n", b"+PONG\r\n", FIVE], "it is Redis 5.0.14, and 6 is the oldest that will do"),
        ([b"+OK\r\n", b"+PONG\r\n", b"-NOPERM no\r\n"], None),
        ([b"-WRONGPASS no\r\n"], "WRONGPASS no"),
        ([b"+OK\r\n", b"-NOPERM no\r\n"], "NOPERM no"),
        ([b"+OK\r\n", b"-LOADING wait\r\n"], None),
        ([b"-MASTERDOWN wait\r\n"], None),
        ([b"HTTP/1.1 400 Bad Request\r\n"], None),
        ([b""], None),
        ([], None),
    ],
)
def test_answers(answering, answers, expected):
    port = answering(*answers)
    refusal = refusal_of(parse_redis_url(f"redis://:secret@127.0.0.1:{port}"))

    start = f"Redis at redis://127.0.0.1:{port}/0 cannot be used: "
    assert refusal == (expected and start + expected)


def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    assert refusal_of(parse_redis_url(f"redis://127.0.0.1:{port}")) is None
    assert refusal_of(parse_redis_url("unix:///nowhere/redis.sock")) is None
