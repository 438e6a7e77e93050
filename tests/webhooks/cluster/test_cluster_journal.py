"""The leader's journal: when it lets the sender send, as the leadership is confirmed."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from reverb.webhooks.cluster.journal import ClusterJournal


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return Mock(**{"acquire_leadership.return_value": succeed(False)})


@pytest.fixture
def on_lost():
    return Mock()


@pytest.fixture
def journal(clock, store, on_lost):
    return ClusterJournal(store, "token", clock=clock, on_lost=on_lost)


def test_a_write_soon_after_a_confirmation_may_be_sent(journal, clock, store, on_lost):
    journal.leadership_confirmed(clock.seconds())
    clock.advance(3)

    assert journal.written().called
    store.acquire_leadership.assert_not_called()
    on_lost.assert_not_called()


def test_a_reply_that_was_read_after_a_pause_of_the_process_does_not_confirm_the_leadership(
    journal, clock, store, on_lost
):
    asked_at = clock.seconds()
    clock.advance(8)
    journal.leadership_confirmed(asked_at)

    assert not journal.written().called
    store.acquire_leadership.assert_called_once_with("token")
    on_lost.assert_called_once_with()
