"""The election: when a node asks for the leadership, leads, and stops."""

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from reverb.webhooks.cluster.election import Election
from reverb.webhooks.interfaces import ClusterStoreLostError


class Store:
    """A cluster store.

    Attributes:
        asked: How often a node has asked for the leadership.
        answers: The next answers, of which the last one is repeated.
        last: For each stop that is announced, whether the node should try to lead once more.
    """

    def __init__(self):
        self.is_available = True
        self.asked, self.answers, self.last = 0, [None], []

    def acquire_leadership(self):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def announce_stop(self):
        return succeed(bool(self.last and self.last.pop(0)))


class Term:
    """A term of a leader; each poll finds one entry of ``entries``."""

    def __init__(self, entries=0, error=None):
        self.entries, self.error, self.polls = entries, error, 0
        self.finished = self.ended = None
        self.finishing = succeed(None)

    async def poll(self):
        self.polls += 1
        if self.error is not None:
            raise self.error
        self.entries -= 1
        return self.entries >= 0

    def finish(self, deadline):
        self.finished = deadline
        return self.finishing

    def end(self):
        self.ended = True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def terms():
    """The terms that begin next."""
    return [Term(), Term()]


@pytest.fixture
def election(store, terms, clock, log):
    return Election(store, lambda _leadership: succeed(terms.pop(0)), clock)


def test_a_node_that_is_not_elected_asks_again_every_two_seconds(election, store, clock):
    election.start()
    assert store.asked == 1
    clock.pump([1] * 6)

    assert store.asked == 4
    assert election.term is None


def test_a_node_does_not_ask_while_the_store_is_unavailable(election, store, clock):
    store.is_available = False
    election.start()
    clock.advance(2)
    assert store.asked == 0

    store.is_available = True
    clock.advance(2)
    assert store.asked == 1


def test_a_leader_polls_at_once_until_the_queue_is_empty_and_then_periodically(
    election, store, terms, clock
):
    store.answers = ["leadership"]
    term = terms[0]
    term.entries = 3
    election.start()
    assert election.term is term
    assert term.polls == 4

    clock.advance(0.25)
    assert term.polls == 5


def test_a_leader_that_is_lost_ends_its_term_and_takes_part_again(election, store, terms, clock):
    store.answers = ["leadership"]
    first, second = terms
    election.start()
    first.error = ClusterStoreLostError("the connection to Redis was lost")
    clock.advance(0.25)
    assert first.ended
    assert election.term is None

    clock.advance(2)
    assert election.term is second


@pytest.mark.parametrize("error", [ClusterStoreLostError("no"), ValueError("unexpected")])
def test_an_attempt_that_fails_is_repeated(election, store, clock, log, error):
    store.answers = [error, "leadership"]
    election.start()
    clock.advance(2)

    assert election.term is not None
    assert len(log.problems()) == isinstance(error, ValueError)


class TestStop:
    def test_a_candidate_stops_at_once(self, election, store, clock):
        election.start()
        stopped = election.stop(3)

        assert stopped.called
        assert clock.getDelayedCalls() == []
        assert store.asked == 1

    def test_a_leader_finishes_its_term(self, election, store, terms, clock):
        store.answers = ["leadership"]
        term = terms[0]
        term.finishing = Deferred()
        election.start()
        stopped = election.stop(3)
        assert term.finished == clock.seconds() + 3
        assert not stopped.called

        term.finishing.callback(None)
        assert stopped.called
        assert (term.ended, election.term) == (True, None)
        assert clock.getDelayedCalls() == []

    def test_the_last_node_leads_until_nothing_is_left(self, election, store, terms, clock):
        election.start()
        store.last = [True, True]
        store.answers = [None, "leadership"]
        stopped = election.stop(3)
        assert not stopped.called

        clock.advance(0.25)
        assert stopped.called
        assert (len(terms), store.asked) == (1, 3)

    def test_a_node_does_not_wait_for_another_leader_forever(self, election, store, clock):
        election.start()
        store.last = [True] * 1_000
        stopped = election.stop(3)
        clock.pump([0.25] * 13)

        assert stopped.called

    def test_a_stop_without_a_start_and_a_second_stop(self, election):
        assert election.stop(3).called
        election.start()
        assert election.stop(3).called
        assert election.stop(3).called

    def test_it_can_be_started_again(self, election, store, clock):
        election.start()
        election.stop(3)
        election.start()
        clock.advance(2)

        assert store.asked == 3
