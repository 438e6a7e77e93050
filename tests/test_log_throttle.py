"""A repeated log message is emitted once per interval, with the number of its occurrences."""

import pytest
from twisted.internet.task import Clock

from reverb.log_throttle import LogThrottle


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def emitted():
    """The keys and counts that the throttle has emitted, in order."""
    return []


@pytest.fixture
def throttle(clock, emitted):
    return LogThrottle(lambda key, count: emitted.append((key, count)), clock, seconds=60)


def record(throttle, *keys):
    for key in keys:
        throttle.record(key)


def test_the_first_occurrence_is_emitted_at_once_and_the_others_are_counted(
    throttle, clock, emitted
):
    record(throttle, "a", "a", "b", "a")
    assert emitted == [("a", 1), ("b", 1)]
    clock.advance(60)
    record(throttle, "a")

    assert emitted == [("a", 1), ("b", 1), ("a", 3)]


def test_a_forgotten_key_is_emitted_at_once(throttle, emitted):
    throttle.forget("a")
    record(throttle, "a", "a")
    throttle.forget("a")
    record(throttle, "a")

    assert emitted == [("a", 1), ("a", 1)]


class TestTooManyKeys:
    KEYS = tuple(f"key {number}" for number in range(1_000))

    def test_further_keys_are_ignored_within_the_interval(self, throttle, emitted):
        record(throttle, *self.KEYS, "new")

        assert ("new", 1) not in emitted

    def test_old_keys_make_room_after_the_interval(self, throttle, clock, emitted):
        record(throttle, *self.KEYS)
        clock.advance(60)
        record(throttle, "new")

        assert emitted[-1] == ("new", 1)

    def test_a_suppressed_count_survives(self, throttle, clock, emitted):
        first, *others = self.KEYS
        record(throttle, first, first, first, *others)
        clock.advance(60)
        record(throttle, "new", first)

        assert emitted[-2:] == [("new", 1), (first, 3)]

    def test_suppressed_counts_are_emitted_if_they_must_make_room(self, throttle, clock, emitted):
        record(throttle, *self.KEYS, *self.KEYS)
        clock.advance(60)
        record(throttle, "new")

        assert emitted[-1_001:] == [*((key, 1) for key in self.KEYS), ("new", 1)]
