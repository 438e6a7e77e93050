"""One endpoint's queue and retries."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.endpoint_queue import MAX_IN_FLIGHT, EndpointQueue, Outcome, backoff


class Run:
    """An endpoint whose attempts the test answers."""

    def __init__(self):
        self.clock, self.attempts, self.done = Clock(), [], []
        self.before_an_attempt = self.after_an_attempt = lambda: None
        self.endpoint = EndpointQueue(
            send=self.send,
            changed=lambda delivery, outcome: self.after_an_attempt(),
            done=lambda delivery: self.done.append((delivery.id, delivery.state)),
            clock=self.clock,
            now=self.clock.seconds,
            random=lambda: 0.0,
            retry_for=300,
            max_queued=100,
        )

    def send(self, delivery):
        self.before_an_attempt()
        self.attempts.append((delivery.id, answer := Deferred()))
        return answer

    def add(self, name, *channels):
        events = [b'{"name":"channel_occupied","channel":"%s"}' % c.encode() for c in channels]
        created = self.clock.seconds()
        self.endpoint.add(
            Delivery(id=name, app_id="1", url="x", body=make_body(1, events), created=created)
        )

    def answer(self, name, status=200):
        (answer,) = [a for n, a in self.attempts if n == name and not a.called]
        answer.callback(Outcome(status=status))

    @property
    def under_way(self):
        return [name for name, answer in self.attempts if not answer.called]


@pytest.fixture
def run(log):
    return Run()


class TestOrder:
    def test_what_shares_a_channel_waits(self, run):
        run.add("1", "a", "b")
        run.add("2", "b", "c")
        run.add("3", "c")
        run.add("4", "d")
        assert run.under_way == ["1", "4"]

        run.answer("1")
        assert run.under_way == ["4", "2"]
        run.answer("2")
        assert run.under_way == ["4", "3"]

    def test_also_while_the_first_is_tried_again(self, run):
        run.add("1", "a")
        run.add("2", "a")
        run.answer("1", 500)
        assert run.under_way == []
        run.clock.advance(1)
        assert run.under_way == ["1"]
        run.answer("1")
        assert run.under_way == ["2"]

    def test_only_some_are_under_way(self, run):
        for number in range(MAX_IN_FLIGHT + 2):
            run.add(str(number), f"c{number}")
        assert len(run.under_way) == MAX_IN_FLIGHT
        run.answer("3")
        assert len(run.under_way) == MAX_IN_FLIGHT

    def test_one_twice_is_one(self, run):
        run.add("1", "a")
        run.add("1", "a")
        run.answer("1")
        assert run.done == [("1", "delivered")]
        assert len(run.endpoint) == 0


class TestRetries:
    def test_they_end_within_their_time(self, run):
        run.add("1", "a")
        while not run.done:
            run.answer("1", 500)
            if not run.done:
                run.clock.advance(backoff(len(run.attempts), lambda: 0.0))
        assert run.done == [("1", "dead")]
        assert 200 < run.clock.seconds() <= 300

    def test_what_is_older_gets_one_attempt(self, run):
        run.add("1", "a")
        run.add("2", "a")
        run.clock.advance(1000)
        run.answer("1", 500)
        run.answer("2")
        assert run.done == [("1", "dead"), ("2", "delivered")]

    def test_a_hopeless_one_is_given_up_at_once(self, run):
        run.add("1", "a")
        run.attempts[0][1].callback(Outcome(error="no such webhook", permanent=True))
        assert run.done == [("1", "dead")]

    def test_the_waits_grow_and_are_shortened_at_random(self):
        assert [backoff(n, lambda: 0.0) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert backoff(3, lambda: 1.0) == 2
        assert backoff(10_000, lambda: 0.0) == 60

    def test_after_the_stop_nothing_happens(self, run):
        run.add("1", "a")
        run.add("2", "b")
        run.answer("2", 500)
        run.endpoint.stop()
        run.clock.advance(1000)
        assert run.done == []
        assert run.clock.getDelayedCalls() == []


class TestAStopFromWithin:
    """What could not be noted stops the endpoint that wants it noted."""

    def one_of_three_under_way(self, run, status):
        run.after_an_attempt = run.endpoint.stop
        run.add("1", "a")
        run.add("2", "a")
        run.add("3", "b")
        run.answer("1", status)
        run.clock.advance(1000)
        assert run.done == []
        assert run.clock.getDelayedCalls() == []

    def test_when_it_was_delivered(self, run):
        self.one_of_three_under_way(run, 200)
        assert [name for name, _ in run.attempts] == ["1", "3"]

    def test_when_it_waits_to_be_tried_again(self, run):
        self.one_of_three_under_way(run, 500)
        assert [name for name, _ in run.attempts] == ["1", "3"]

    def test_during_the_attempt(self, run):
        run.before_an_attempt = run.endpoint.stop
        run.add("1", "a")
        assert run.attempts[0][1].called  # It is given up.
        assert run.done == []

    def test_what_comes_later_is_not_sent(self, run):
        run.endpoint.stop()
        run.add("1", "a")
        assert run.attempts == []
