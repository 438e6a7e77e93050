"""The count of the unfinished deliveries of each event."""

import pytest

from reverb.webhooks.ack_tracker import AckTracker


@pytest.fixture
def acknowledged():
    return []


@pytest.fixture
def tracker(acknowledged):
    return AckTracker(acknowledged.extend)


def test_an_event_without_deliveries_is_acknowledged_at_once(tracker, acknowledged):
    tracker.track("1", 0)

    assert acknowledged == ["1"]


def test_an_event_is_acknowledged_with_its_last_delivery(tracker, acknowledged):
    tracker.track("1", 2)
    tracker.track("2", 1)
    tracker.done(["1", "2"])
    assert acknowledged == ["2"]

    tracker.done(["1"])
    assert acknowledged == ["2", "1"]


def test_deliveries_of_unknown_events_are_ignored(tracker, acknowledged):
    tracker.track("1", 1)
    tracker.done(["1", "3"])
    tracker.done(["1"])

    assert acknowledged == ["1"]
