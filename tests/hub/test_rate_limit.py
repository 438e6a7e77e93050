"""The rate limiter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.hub.rate_limit import RateLimit


def test_exactly_the_limit_is_allowed_in_a_second():
    limit = RateLimit(3)

    assert [limit.allow(5.0) for _ in range(5)] == [True, True, True, False, False]


def test_a_second_starts_with_its_first_call():
    limit = RateLimit(1)

    assert [limit.allow(now) for now in [5.5, 6.0, 6.49, 6.5, 7.49, 7.5]] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_refused_calls_do_not_count_for_the_next_second():
    limit = RateLimit(2)
    for _ in range(100):
        limit.allow(1.0)

    assert [limit.allow(2.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("now", [0.0, -1e9, 1e9])
def test_any_clock_origin_works(now):
    assert RateLimit(1).allow(now)


def test_zero_is_no_limit():
    limit = RateLimit(0)

    assert all(limit.allow(1.0) for _ in range(1000))


def test_the_limit_can_be_read():
    assert RateLimit(7).per_second == 7


@given(st.integers(1, 5), st.lists(st.floats(0, 3), max_size=60))
def test_no_second_allows_more_than_twice_the_limit(per_second, gaps):
    limit, now, allowed = RateLimit(per_second), 0.0, []
    for gap in gaps:
        now += gap
        if limit.allow(now):
            allowed.append(now)

    for begin in allowed:
        within = [then for then in allowed if begin <= then < begin + 1]
        assert len(within) <= 2 * per_second
