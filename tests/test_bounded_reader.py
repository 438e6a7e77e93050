"""Reading from a blocking socket, with limits."""

import io
import socket
import threading
import time
from contextlib import suppress

import pytest

from reverb.bounded_reader import AnswerLimitError, BoundedReader


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_reads_until_the_end(sockets):
    ours, theirs = sockets
    theirs.sendall(b"one\ntwo\n")
    theirs.shutdown(socket.SHUT_WR)
    reader = BoundedReader(ours, max_bytes=8, seconds=5)
    assert reader.readable()
    assert list(io.BufferedReader(reader)) == [b"one\n", b"two\n"]


def test_one_byte_too_many(sockets):
    ours, theirs = sockets
    theirs.sendall(b"x" * 9)
    reader = BoundedReader(ours, max_bytes=8, seconds=5)
    with pytest.raises(AnswerLimitError, match=r"^the answer is over 8 bytes$"):
        reader.read(100)


def test_it_reads_not_much_more_than_the_limit(sockets):
    ours, theirs = sockets
    theirs.sendall(b"x" * 100_000)
    reader = BoundedReader(ours, max_bytes=1_000, seconds=5)
    with pytest.raises(AnswerLimitError):
        io.BufferedReader(reader, 4_096).readline()
    ours.settimeout(1)
    left = 0
    while left < 100_000 - 1_000 - 4_096:
        left += len(ours.recv(65_536))


def test_silence(sockets):
    reader = BoundedReader(sockets[0], max_bytes=8, seconds=0.01)
    with pytest.raises(AnswerLimitError, match=r"^the answer took longer than 0\.01 s$"):
        reader.read(1)


def test_a_drip_does_not_extend_the_time(sockets):
    ours, theirs = sockets
    stop = threading.Event()

    def drip():
        with suppress(OSError):
            while not stop.is_set():
                theirs.sendall(b"x")
                time.sleep(0.001)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        reader = BoundedReader(ours, max_bytes=1_000_000, seconds=0.05)
        with pytest.raises(AnswerLimitError, match=r"^the answer took longer than 0\.05 s$"):
            io.BufferedReader(reader).readline()
    finally:
        stop.set()
        thread.join()


def test_closing_it_leaves_the_socket_open(sockets):
    ours, theirs = sockets
    BoundedReader(ours, max_bytes=8, seconds=5).close()
    theirs.sendall(b"x")
    assert ours.recv(1) == b"x"
