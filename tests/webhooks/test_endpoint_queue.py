"""The queue of one endpoint: order, retries and stop."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.backoff import Backoff
from reverb.timing import Time
from reverb.webhooks.attempts import Outcome
from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.endpoint_queue import MAX_IN_FLIGHT, EndpointQueue
from reverb.webhooks.policies import FIRST_DELAY, MAX_DELAY, QueueLimits, RetryPolicy

BACKOFF = Backoff(initial=FIRST_DELAY, maximum=MAX_DELAY, random=lambda: 0.0)


class Run:
    """An endpoint queue whose attempts the test answers."""

    def __init__(self):
        self.clock, self.attempts, self.done = Clock(), [], []
        self.before_attempt = self.after_attempt = lambda: None
        self.queue = EndpointQueue(
            send=self.send,
            on_attempt=lambda delivery, outcome: self.after_attempt(),
            on_done=lambda delivery: self.done.append((delivery.id, delivery.state)),
            time=Time(self.clock, self.clock.seconds),
            retry=RetryPolicy(BACKOFF, retry_for=300),
            limits=QueueLimits(100),
        )

    def send(self, delivery):
        self.before_attempt()
        self.attempts.append((delivery.id, answer := Deferred()))
        return answer

    def add(self, name, *channels):
        events = [b'{"name":"channel_occupied","channel":"%s"}' % c.encode() for c in channels]
        created = self.clock.seconds()
        self.queue.add(
            Delivery(id=name, app_id="1", url="x", body=make_body(1, events), created=created)
        )

    def answer(self, name, status=200):
        (answer,) = [a for n, a in self.attempts if n == name and not a.called]
        answer.callback(Outcome(status=status))

    @property
    def in_flight(self):
        return [name for name, answer in self.attempts if not answer.called]


@pytest.fixture
def run(log):
    return Run()


class TestOrder:
    def test_a_delivery_waits_for_earlier_ones_of_its_channels(self, run):
        run.add("1", "a", "b")
        run.add("2", "b", "c")
        run.add("3", "c")
        run.add("4", "d")
        assert run.in_flight == ["1", "4"]

        run.answer("1")
        assert run.in_flight == ["4", "2"]
        run.answer("2")
        assert run.in_flight == ["4", "3"]

    def test_it_waits_also_while_the_first_is_retried(self, run):
        run.add("1", "a")
        run.add("2", "a")
        run.answer("1", 500)
        assert run.in_flight == []
        run.clock.advance(1)
        assert run.in_flight == ["1"]
        run.answer("1")
        assert run.in_flight == ["2"]

    def test_the_number_in_flight_is_limited(self, run):
        for number in range(MAX_IN_FLIGHT + 2):
            run.add(str(number), f"c{number}")
        assert len(run.in_flight) == MAX_IN_FLIGHT
        run.answer("3")
        assert len(run.in_flight) == MAX_IN_FLIGHT

    def test_adding_a_delivery_twice_sends_it_once(self, run):
        run.add("1", "a")
        run.add("1", "a")
        run.answer("1")
        assert run.done == [("1", "delivered")]
        assert len(run.queue) == 0


class TestRetries:
    def test_retries_end_within_retry_for(self, run):
        run.add("1", "a")
        while not run.done:
            run.answer("1", 500)
            if not run.done:
                run.clock.advance(BACKOFF.delay(len(run.attempts)))
        assert run.done == [("1", "dead")]
        assert 200 < run.clock.seconds() <= 300

    def test_a_delivery_older_than_retry_for_gets_one_attempt(self, run):
        run.add("1", "a")
        run.add("2", "a")
        run.clock.advance(1000)
        run.answer("1", 500)
        run.answer("2")
        assert run.done == [("1", "dead"), ("2", "delivered")]

    def test_a_permanent_failure_is_not_retried(self, run):
        run.add("1", "a")
        run.attempts[0][1].callback(Outcome(error="no such webhook", permanent=True))
        assert run.done == [("1", "dead")]

    def test_after_the_stop_nothing_is_retried(self, run):
        run.add("1", "a")
        run.add("2", "b")
        run.answer("2", 500)
        run.queue.stop()
        run.clock.advance(1000)
        assert run.done == []
        assert run.clock.getDelayedCalls() == []


class TestStopFromCallback:
    """A callback that fails to write the journal may stop the queue that called it."""

    def stop_after_the_first_of_three(self, run, status):
        run.after_attempt = run.queue.stop
        run.add("1", "a")
        run.add("2", "a")
        run.add("3", "b")
        run.answer("1", status)
        run.clock.advance(1000)
        assert run.done == []
        assert run.clock.getDelayedCalls() == []

    def test_after_a_delivery(self, run):
        self.stop_after_the_first_of_three(run, 200)
        assert [name for name, _ in run.attempts] == ["1", "3"]

    def test_before_a_retry(self, run):
        self.stop_after_the_first_of_three(run, 500)
        assert [name for name, _ in run.attempts] == ["1", "3"]

    def test_during_an_attempt(self, run):
        run.before_attempt = run.queue.stop
        run.add("1", "a")
        assert run.attempts[0][1].called  # It was cancelled.
        assert run.done == []

    def test_later_deliveries_are_not_sent(self, run):
        run.queue.stop()
        run.add("1", "a")
        assert run.attempts == []
