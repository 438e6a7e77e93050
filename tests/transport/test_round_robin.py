"""The round-robin of the connections that send much at once."""

from twisted.internet.task import Clock

from reverb.transport.round_robin import RoundRobin


class Sender:
    """Adds itself until its portions are used up."""

    def __init__(self, turns, name, portions, done):
        self.turns, self.name, self.portions, self.done = turns, name, portions, done
        turns.add(self)

    def __call__(self):
        self.done.append(self.name)
        self.portions -= 1
        if self.portions:
            self.turns.add(self)


def test_nothing_runs_in_the_turn_in_which_it_is_added():
    clock, done = Clock(), []
    Sender(RoundRobin(clock), "a", 1, done)
    assert done == []
    clock.advance(0)
    assert done == ["a"]
    assert clock.getDelayedCalls() == []


def test_senders_take_turns():
    clock, done = Clock(), []
    turns = RoundRobin(clock)
    for name in "abc":
        Sender(turns, name, 3, done)
    while clock.getDelayedCalls():
        clock.advance(0)
    assert "".join(done) == "abcabcabc"


def test_a_turn_runs_a_few_steps_however_many_wait():
    class OneCallAtATime(Clock):
        def callLater(self, delay, function):
            self.next = function

    clock, done = OneCallAtATime(), []
    turns = RoundRobin(clock)
    for number in range(1000):
        Sender(turns, number, 1, done)
    clock.next()
    assert 1 <= len(done) <= 8


def test_a_step_that_fails_does_not_stop_the_others(log):
    clock, done = Clock(), []
    turns = RoundRobin(clock)
    turns.add(lambda: 1 // 0)
    Sender(turns, "a", 2, done)
    while clock.getDelayedCalls():
        clock.advance(0)
    assert done == ["a", "a"]
    assert len(log.problems()) == 1
