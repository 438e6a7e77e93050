"""The leader's journal: when it lets the sender send, as the leadership is confirmed."""

from unittest.mock import Mock

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from reverb.webhooks.cluster.journal import ClusterJournal
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.interfaces import ClusterStoreLostError


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def renewals():
    """The replies to requests for a confirmation, which the test gives."""
    return []


@pytest.fixture
def leadership(renewals):
    leadership = Mock(**{"put.return_value": succeed(None)})
    leadership.renew.side_effect = lambda: renewals.append(Deferred()) or renewals[-1]
    return leadership


@pytest.fixture
def on_lost():
    return Mock()


@pytest.fixture
def journal(clock, leadership, on_lost):
    return ClusterJournal(leadership, clock=clock, on_lost=on_lost)


def make_delivery(**fields):
    body = b'{"time_ms":1,"events":[]}'
    return Delivery(id="1", app_id="1", url="http://x", body=body, created=1.0, **fields)


def test_a_write_soon_after_a_confirmation_may_be_sent(journal, clock, renewals, on_lost):
    journal.leadership_confirmed(clock.seconds())
    clock.advance(3)

    assert journal.written().called
    assert renewals == []
    on_lost.assert_not_called()


def test_after_a_pause_of_the_process_the_sender_waits_for_a_confirmation(journal, clock, renewals):
    journal.leadership_confirmed(clock.seconds())
    clock.advance(8)
    written = journal.written()
    assert not written.called

    renewals[0].callback(None)
    assert written.called
    assert journal.written().called
    assert len(renewals) == 1


def test_a_reply_that_was_read_after_a_pause_of_the_process_does_not_confirm_the_leadership(
    journal, clock, renewals
):
    asked_at = clock.seconds()
    clock.advance(8)
    journal.leadership_confirmed(asked_at)

    assert not journal.written().called
    assert len(renewals) == 1


def test_a_node_that_has_lost_the_leadership_sends_nothing(journal, renewals, on_lost):
    written = journal.written()
    renewals[0].errback(ClusterStoreLostError("another node is the leader"))

    assert not written.called
    on_lost.assert_called_once_with()


def test_a_write_that_fails_ends_the_leadership(journal, clock, leadership, on_lost):
    journal.leadership_confirmed(clock.seconds())
    leadership.put.return_value = writing = Deferred()
    journal.put(make_delivery())
    written = journal.written()
    writing.errback(ClusterStoreLostError("Redis is unreachable"))

    assert not written.called
    on_lost.assert_called_once_with()


def test_the_body_of_a_delivery_is_written_once(journal, leadership):
    journal.put(make_delivery())
    journal.put(make_delivery(attempts=1))
    journal.put(make_delivery(state="dead"))
    journal.put(make_delivery())  # A replay.

    assert [call.kwargs["is_new"] for call in leadership.put.call_args_list] == [
        True,
        False,
        False,
        True,
    ]
