"""The archive of a single node."""

from unittest.mock import Mock

import pytest

from reverb.webhooks.delivery import Delivery
from reverb.webhooks.interfaces import DeliveryPendingError, QueueFullError
from reverb.webhooks.single.archive import JournalArchive
from reverb.webhooks.single.journal import Journal


@pytest.fixture
def delivery():
    body = b'{"time_ms":1,"events":[]}'
    return Delivery(id=f"{1:014}", app_id="1", url="http://x", body=body, created=1.0)


@pytest.fixture
def sender():
    return Mock()


@pytest.fixture
def archive(delivery, sender):
    journal = Journal()
    journal.put(delivery)
    return JournalArchive(journal, sender)


def failures_of(deferred):
    failures = []
    deferred.addErrback(failures.append)
    return failures


def test_a_pending_delivery_is_not_replayed(archive, sender, delivery):
    (failure,) = failures_of(archive.replay(delivery))
    failure.trap(DeliveryPendingError)

    sender.replay.assert_not_called()


def test_a_full_queue_refuses_a_replay(archive, sender, delivery):
    delivery.state = "dead"
    sender.replay.side_effect = QueueFullError(delivery.url)
    (failure,) = failures_of(archive.replay(delivery))

    failure.trap(QueueFullError)
