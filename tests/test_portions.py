"""Long work is done in portions, one in each turn of the reactor."""

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from reverb.portions import portions, run_in_portions


class Turns(Clock):
    """A clock on which each turn of the reactor is a separate step."""

    def turn(self):
        """Make the calls that are due now, but not those that they schedule."""
        due, self.calls = self.calls, []
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)


def test_items_are_taken_only_as_needed():
    taken = []
    numbers = (taken.append(number) or number for number in range(5))
    divided = portions(numbers, 2)

    assert next(divided) == [0, 1]
    assert taken == [0, 1]
    assert list(divided) == [[2, 3], [4]]


def test_the_first_portion_is_done_at_once_and_each_other_in_a_later_turn():
    clock, done = Turns(), []
    finished = run_in_portions(clock, range(5), done.append, size=2)

    assert done == [0, 1]
    clock.turn()
    assert done == [0, 1, 2, 3]
    assert not finished.called
    clock.turn()
    assert done == [0, 1, 2, 3, 4]
    assert finished.called
    assert clock.getDelayedCalls() == []


def test_a_single_short_portion_needs_no_turn():
    clock, done = Turns(), []

    assert run_in_portions(clock, [1], done.append, size=2).called
    assert done == [1]
    assert clock.getDelayedCalls() == []


def test_a_failure_is_logged_and_the_others_follow():
    logged, done = [], []
    globalLogPublisher.addObserver(logged.append)
    run_in_portions(Clock(), [0, 1], lambda number: done.append(1 // number), size=3)
    globalLogPublisher.removeObserver(logged.append)

    assert done == [1]
    assert [formatEvent(event) for event in logged] == ["failed to handle 0"]
