"""Heartbeats: a running reactor sends them, and the watchdog counts the missed ones."""

import fcntl
import os

import pytest
from twisted.internet.task import Clock

from reverb.workers.heartbeat import Watchdog, start_heartbeat


@pytest.fixture
def pipe():
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def test_a_heartbeat_is_sent_each_second_once_the_reactor_runs(pipe):
    clock = Clock()
    start_heartbeat(clock, pipe[1])
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 100)

    clock.pump([0, 1, 1])

    assert os.read(pipe[0], 100) == b"..."


def test_a_supervisor_that_does_not_read_does_not_block_the_worker(pipe):
    clock = Clock()
    start_heartbeat(clock, pipe[1])
    size = fcntl.fcntl(pipe[1], fcntl.F_GETPIPE_SZ)
    assert os.write(pipe[1], b" " * size) == size

    clock.advance(1)

    assert os.read(pipe[0], size) == b" " * size
    clock.advance(1)
    assert os.read(pipe[0], size) == b"."


def test_a_dead_supervisor_causes_no_error(pipe):
    clock = Clock()
    start_heartbeat(clock, pipe[1])
    os.dup2(pipe[1], pipe[0])  # Close the read end.

    clock.advance(1)

    assert clock.getDelayedCalls()


class TestWatchdog:
    def test_a_process_hangs_after_the_maximum_of_missed_heartbeats(self):
        watchdog = Watchdog(3)
        watchdog.record_heartbeat()

        assert [watchdog.check_heartbeat() for _ in range(4)] == [False, False, True, False]

    def test_each_heartbeat_resets_the_count(self):
        watchdog = Watchdog(3)
        for _ in range(5):
            watchdog.record_heartbeat()
            assert not any(watchdog.check_heartbeat() for _ in range(2))

    def test_a_starting_process_never_counts_as_hung(self):
        watchdog = Watchdog(3)

        assert not any(watchdog.check_heartbeat() for _ in range(100))
