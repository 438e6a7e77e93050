"""Whether a sender may send what it has noted, where nodes share webhooks."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from reverb.webhooks.cluster.journal import ClusterJournal


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shared():
    return Mock(**{"acquire_leadership.return_value": succeed(False)})


@pytest.fixture
def lost():
    return Mock()


@pytest.fixture
def journal(clock, shared, lost):
    return ClusterJournal(shared, "office", clock=clock, lost=lost)


def test_what_is_noted_while_the_office_is_fresh_may_be_sent(journal, clock, shared, lost):
    journal.used(clock.seconds())
    clock.advance(3)

    assert journal.written().called
    shared.acquire_leadership.assert_not_called()
    lost.assert_not_called()


def test_an_answer_that_waited_while_the_process_was_paused_makes_nothing_fresh(
    journal, clock, shared, lost
):
    asked = clock.seconds()
    clock.advance(8)
    journal.used(asked)

    assert not journal.written().called
    shared.acquire_leadership.assert_called_once_with("office")
    lost.assert_called_once_with()
