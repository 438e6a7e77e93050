"""Signs of life: given by a reactor that turns, and missed by who looks for them."""

import fcntl
import os

import pytest
from twisted.internet.task import Clock

from reverb.workers.heartbeat import Watchdog, start_beating


@pytest.fixture
def pipe():
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def test_a_sign_is_given_each_second_and_none_before_the_reactor_turns(pipe):
    clock = Clock()
    start_beating(clock, pipe[1])
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 100)

    clock.pump([0, 1, 1])

    assert os.read(pipe[0], 100) == b"..."


def test_a_parent_that_does_not_read_is_not_waited_for(pipe):
    clock = Clock()
    start_beating(clock, pipe[1])
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    assert os.write(pipe[1], b" " * size) == size

    clock.advance(1)

    assert os.read(pipe[0], size) == b" " * size
    clock.advance(1)
    assert os.read(pipe[0], size) == b"."


def test_a_parent_that_is_gone_harms_nobody(pipe):
    clock = Clock()
    start_beating(clock, pipe[1])
    os.dup2(pipe[1], pipe[0])  # Closes the end that is read from.

    clock.advance(1)

    assert clock.getDelayedCalls()


class TestWatchdog:
    def test_a_process_hangs_when_there_was_no_sign_for_so_many_looks(self):
        watchdog = Watchdog(3)
        watchdog.alive()

        assert [watchdog.look() for _ in range(4)] == [False, False, True, False]

    def test_each_sign_begins_anew(self):
        watchdog = Watchdog(3)
        for _ in range(5):
            watchdog.alive()
            assert not any(watchdog.look() for _ in range(2))

    def test_one_that_is_starting_takes_as_long_as_it_takes(self):
        watchdog = Watchdog(3)

        assert not any(watchdog.look() for _ in range(100))
