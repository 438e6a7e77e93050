"""Exponential backoff with jitter."""

import random

import pytest

from reverb.backoff import Backoff


def make_backoff(*, random=lambda: 0.0, **settings):
    return Backoff(random=random, **({"initial": 0.5, "maximum": 15} | settings))


def test_delays_grow_by_the_factor_up_to_the_maximum():
    backoff = make_backoff()

    assert [backoff.delay(n) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_another_factor():
    backoff = make_backoff(initial=1, factor=10, maximum=500)

    assert [backoff.delay(n) for n in range(1, 5)] == [1, 10, 100, 500]


@pytest.mark.parametrize("failures", [1_025, 10**9])
def test_any_number_of_failures_is_allowed(failures):
    assert make_backoff().delay(failures) == 15


@pytest.mark.parametrize(("jitter", "delay"), [(0, 4), (0.5, 3), (1, 2)])
def test_jitter_shortens_a_delay(jitter, delay):
    assert make_backoff(random=lambda: 0.5, jitter=jitter).delay(4) == delay


def test_every_delay_has_its_own_jitter():
    backoff = make_backoff(random=random.Random(1).random)  # noqa: S311 - the same for every run
    delays = {backoff.delay(20) for _ in range(100)}

    assert len(delays) > 90
    assert 7.5 <= min(delays) < max(delays) <= 15
