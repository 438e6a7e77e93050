"""Webhook events: one table relates their names to notices."""

from reverb.apps import EVENT_NAMES
from reverb.protocol.notices import ChannelVacated, MemberAdded
from reverb.webhooks.events import (
    OCCUPANCY_EVENTS,
    make_event,
    make_occupancy_event,
    sample_event,
)


def test_every_name_has_an_event():
    assert [sample_event("1", name, "c").name for name in EVENT_NAMES] == list(EVENT_NAMES)


def test_occupancy_events():
    assert {
        "channel_occupied",
        "channel_vacated",
        "member_added",
        "member_removed",
    } == OCCUPANCY_EVENTS


def test_an_occupancy_event_is_the_same_as_that_of_its_notice():
    assert make_occupancy_event("e", "channel_vacated", ("1", "c", "")) == make_event(
        "e", ChannelVacated(app_id="1", channel="c")
    )
    assert make_occupancy_event("e", "member_added", ("1", "c", "7")) == make_event(
        "e", MemberAdded(app_id="1", channel="c", user_id="7")
    )
