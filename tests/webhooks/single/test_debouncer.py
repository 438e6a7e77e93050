"""The debouncer: a return within the delay cancels a departure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
)
from reverb.webhooks.single.debouncer import Debouncer


def occupied(channel="c", app_id="1"):
    return ChannelOccupied(app_id=app_id, channel=channel)


def vacated(channel="c", app_id="1"):
    return ChannelVacated(app_id=app_id, channel=channel)


def added(user_id, channel="c"):
    return MemberAdded(app_id="1", channel=channel, user_id=user_id)


def removed(user_id, channel="c"):
    return MemberRemoved(app_id="1", channel=channel, user_id=user_id)


@pytest.fixture
def debouncer():
    return Debouncer(3)


class TestDebouncer:
    def test_arrivals_are_not_delayed(self, debouncer):
        assert debouncer.add(occupied(), 0) == [occupied()]
        assert debouncer.add(added("7"), 0) == [added("7")]
        assert debouncer.due_at is None

    def test_departures_are_delayed(self, debouncer):
        assert debouncer.add(vacated(), 10) == []
        assert debouncer.due_at == 13
        assert debouncer.pop_due(12.9) == []
        assert debouncer.pop_due(13) == [vacated()]
        assert debouncer.due_at is None

    def test_a_return_cancels_both(self, debouncer):
        debouncer.add(vacated(), 0)
        assert debouncer.add(occupied(), 2.9) == []
        assert debouncer.pop_due(100) == []

    def test_the_delay_restarts_with_each_departure(self, debouncer):
        debouncer.add(vacated(), 0)
        debouncer.add(occupied(), 2)
        debouncer.add(vacated(), 2.5)
        assert debouncer.pop_due(5.4) == []
        assert debouncer.pop_due(5.5) == [vacated()]

    def test_members_leave_before_the_channel_is_vacated(self, debouncer):
        debouncer.add(removed("7"), 0)
        debouncer.add(vacated(), 0)
        assert debouncer.pop_due(3) == [removed("7"), vacated()]

    def test_channels_apps_and_users_are_separate(self, debouncer):
        debouncer.add(vacated("a"), 0)
        debouncer.add(removed("7", "a"), 0)
        assert debouncer.add(occupied("b"), 1) == [occupied("b")]
        assert debouncer.add(occupied("a", app_id="2"), 1) == [occupied("a", app_id="2")]
        assert debouncer.add(added("8", "a"), 1) == [added("8", "a")]
        assert debouncer.pop_due(3) == [vacated("a"), removed("7", "a")]

    def test_a_cache_miss_mutes_the_following_ones(self, debouncer):
        miss = CacheMiss(app_id="1", channel="cache-a")
        assert debouncer.add(miss, 0) == [miss]
        assert debouncer.add(miss, 2.9) == []
        assert debouncer.add(miss, 3) == [miss]
        debouncer.pop_due(6)
        assert debouncer.due_at is None

    def test_other_notices_are_not_delayed(self, debouncer):
        event = ClientEvent(
            app_id="1", channel="c", event="client-x", data="", socket_id="1.1", user_id=None
        )
        assert debouncer.add(event, 0) == [event]

    def test_with_a_delay_of_zero_nothing_is_delayed(self):
        debouncer = Debouncer(0)
        assert debouncer.add(vacated(), 0) == [vacated()]
        miss = CacheMiss(app_id="1", channel="cache-a")
        assert debouncer.add(miss, 0) == debouncer.add(miss, 0) == [miss]

    def test_flush_returns_all_pending_departures(self, debouncer):
        debouncer.add(removed("7"), 0)
        debouncer.add(vacated(), 1)
        assert debouncer.flush() == [removed("7"), vacated()]
        assert debouncer.due_at is None


keys = st.tuples(st.sampled_from("ab"), st.sampled_from([None, "7", "8"]))
steps = st.lists(st.tuples(keys, st.floats(0, 4)), max_size=60)


@given(steps)
def test_notices_alternate_and_end_in_the_actual_occupancy(steps):
    debouncer, now, present, released = Debouncer(3), 0.0, set(), []
    for (channel, user_id), seconds in steps:
        now += seconds
        released += debouncer.pop_due(now)
        arrives = (channel, user_id) not in present
        (present.add if arrives else present.discard)((channel, user_id))
        if user_id is None:
            notice = occupied(channel) if arrives else vacated(channel)
        else:
            notice = added(user_id, channel) if arrives else removed(user_id, channel)
        released += debouncer.add(notice, now)
    released += debouncer.pop_due(now + 3)

    known = set()
    for notice in released:
        key = (notice.channel, getattr(notice, "user_id", None))
        if isinstance(notice, ChannelOccupied | MemberAdded):
            assert key not in known
            known.add(key)
        else:
            assert key in known
            known.discard(key)
    assert known == present
