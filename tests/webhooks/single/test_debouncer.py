"""Who comes back in time has never been away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.hub.notices import (
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
def smoother():
    return Debouncer(3)


class TestSmoother:
    def test_arriving_is_told_at_once(self, smoother):
        assert smoother.take(occupied(), 0) == [occupied()]
        assert smoother.take(added("7"), 0) == [added("7")]
        assert smoother.due_at is None

    def test_leaving_waits(self, smoother):
        assert smoother.take(vacated(), 10) == []
        assert smoother.due_at == 13
        assert smoother.due(12.9) == []
        assert smoother.due(13) == [vacated()]
        assert smoother.due_at is None

    def test_a_return_makes_both_void(self, smoother):
        smoother.take(vacated(), 0)
        assert smoother.take(occupied(), 2.9) == []
        assert smoother.due(100) == []

    def test_the_wait_begins_anew_with_each_leaving(self, smoother):
        smoother.take(vacated(), 0)
        smoother.take(occupied(), 2)
        smoother.take(vacated(), 2.5)
        assert smoother.due(5.4) == []
        assert smoother.due(5.5) == [vacated()]

    def test_members_are_gone_before_the_channel(self, smoother):
        smoother.take(removed("7"), 0)
        smoother.take(vacated(), 0)
        assert smoother.due(3) == [removed("7"), vacated()]

    def test_channels_apps_and_users_are_apart(self, smoother):
        smoother.take(vacated("a"), 0)
        smoother.take(removed("7", "a"), 0)
        assert smoother.take(occupied("b"), 1) == [occupied("b")]
        assert smoother.take(occupied("a", app_id="2"), 1) == [occupied("a", app_id="2")]
        assert smoother.take(added("8", "a"), 1) == [added("8", "a")]
        assert smoother.due(3) == [vacated("a"), removed("7", "a")]

    def test_a_cache_miss_speaks_for_those_that_follow(self, smoother):
        miss = CacheMiss(app_id="1", channel="cache-a")
        assert smoother.take(miss, 0) == [miss]
        assert smoother.take(miss, 2.9) == []
        assert smoother.take(miss, 3) == [miss]
        smoother.due(6)
        assert smoother.due_at is None

    def test_what_else_happens_is_told_at_once(self, smoother):
        event = ClientEvent(
            app_id="1", channel="c", event="client-x", data="", socket_id="1.1", user_id=None
        )
        assert smoother.take(event, 0) == [event]

    def test_without_a_wait_all_is_told_at_once(self):
        smoother = Debouncer(0)
        assert smoother.take(vacated(), 0) == [vacated()]
        miss = CacheMiss(app_id="1", channel="cache-a")
        assert smoother.take(miss, 0) == smoother.take(miss, 0) == [miss]

    def test_at_the_end_nobody_is_waited_for(self, smoother):
        smoother.take(removed("7"), 0)
        smoother.take(vacated(), 1)
        assert smoother.flush() == [removed("7"), vacated()]
        assert smoother.due_at is None


place = st.tuples(st.sampled_from("ab"), st.sampled_from([None, "7", "8"]))
steps = st.lists(st.tuples(place, st.floats(0, 4)), max_size=60)


@given(steps)
def test_what_is_told_alternates_and_ends_in_the_true_state(steps):
    smoother, now, there, told = Debouncer(3), 0.0, set(), []
    for (channel, user_id), wait in steps:
        now += wait
        told += smoother.due(now)
        arrives = (channel, user_id) not in there
        (there.add if arrives else there.discard)((channel, user_id))
        if user_id is None:
            notice = occupied(channel) if arrives else vacated(channel)
        else:
            notice = added(user_id, channel) if arrives else removed(user_id, channel)
        told += smoother.take(notice, now)
    told += smoother.due(now + 3)

    known = set()
    for notice in told:
        key = (notice.channel, getattr(notice, "user_id", None))
        if isinstance(notice, ChannelOccupied | MemberAdded):
            assert key not in known
            known.add(key)
        else:
            assert key in known
            known.discard(key)
    assert known == there
