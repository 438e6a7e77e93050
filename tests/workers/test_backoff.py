"""Pauses grow, are spread, and begin anew once a worker has stayed up."""

import pytest

from reverb.workers.backoff import Backoff


def test_pauses_double_up_to_a_limit():
    backoff = Backoff(lambda: 1.0)

    assert [backoff.pause(0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize(("random", "pauses"), [(0.0, [0.25, 0.5]), (0.5, [0.375, 0.75])])
def test_they_are_spread_over_the_second_half(random, pauses):
    backoff = Backoff(lambda: random)

    assert [backoff.pause(0) for _ in range(2)] == pauses


def test_a_worker_that_has_stayed_up_begins_anew():
    backoff = Backoff(lambda: 1.0)
    for _ in range(5):
        backoff.pause(59)

    assert [backoff.pause(60), backoff.pause(0)] == [0.5, 1]
