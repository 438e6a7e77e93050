"""Restart delays double, have jitter, and are reset once a worker has stayed up."""

import pytest

from reverb.workers.backoff import RestartBackoff


def test_delays_double_up_to_a_limit():
    backoff = RestartBackoff(lambda: 0.0)

    assert [backoff.next_delay(0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize(("random", "delays"), [(1.0, [0.25, 0.5]), (0.5, [0.375, 0.75])])
def test_jitter_shortens_a_delay_by_up_to_half(random, delays):
    backoff = RestartBackoff(lambda: random)

    assert [backoff.next_delay(0) for _ in range(2)] == delays


def test_a_worker_that_stayed_up_resets_the_delay():
    backoff = RestartBackoff(lambda: 0.0)
    for _ in range(5):
        backoff.next_delay(59)

    assert [backoff.next_delay(60), backoff.next_delay(0)] == [0.5, 1]
