"""When a failed delivery is retried, and when an endpoint's queue is full."""

import pytest

from reverb.backoff import Backoff
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.policies import FIRST_DELAY, MAX_DELAY, QueueLimits, RetryPolicy


@pytest.fixture
def retry():
    backoff = Backoff(initial=FIRST_DELAY, maximum=MAX_DELAY, random=lambda: 0.0)
    return RetryPolicy(backoff, retry_for=300)


def failed(attempts):
    body = b'{"time_ms":1,"events":[]}'
    return Delivery(id="1", app_id="1", url="x", body=body, created=1_000, attempts=attempts)


class TestRetries:
    def test_the_delays_double_up_to_a_minute(self, retry):
        delays = [retry.next_delay(failed(n), 1_000) for n in range(1, 9)]

        assert delays == [1, 2, 4, 8, 16, 32, 60, 60]

    @pytest.mark.parametrize(("now", "delay"), [(1_298, 2), (1_298.1, None), (2_000, None)])
    def test_a_delivery_is_given_up_when_the_next_attempt_would_be_too_late(
        self, retry, now, delay
    ):
        assert retry.next_delay(failed(2), now) == delay


class TestLimits:
    @pytest.mark.parametrize(
        ("deliveries", "size", "more", "is_allowed"),
        [
            (1, 10, 5, True),
            (2, 10, 5, False),
            (1, 95, 5, True),
            (1, 95, 6, False),
            (0, 0, 1_000, True),  # A single body may be larger.
        ],
    )
    def test_the_number_and_the_bytes_are_limited(self, deliveries, size, more, is_allowed):
        assert QueueLimits(2, 100).allow(deliveries, size, more) is is_allowed
