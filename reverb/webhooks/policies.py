"""The policy of retries, and the limits of an endpoint's queue."""

import msgspec

from reverb.backoff import Backoff
from reverb.webhooks.delivery import Delivery

FIRST_DELAY = 1.0
"""Seconds before the first retry, without jitter."""
MAX_DELAY = 60.0
"""The most seconds before a retry."""
MAX_QUEUED_BYTES = 32 * 1024 * 1024
"""The most bytes of the bodies in one queue; a single body may be larger."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """Decides when a failed delivery is sent again, and when it is given up."""

    backoff: Backoff
    retry_for: float
    """Seconds from the creation or the last replay of a delivery until its retries end."""

    def next_delay(self, delivery: Delivery, now: float) -> float | None:
        """Return the seconds until the next attempt; None if the retry period ends earlier.

        Args:
            delivery: A delivery whose latest attempt has failed and is counted in ``attempts``.
            now: The wall clock, in seconds since 1970.
        """
        delay = self.backoff.delay(delivery.attempts)
        return None if now + delay > delivery.created + self.retry_for else delay


class QueueLimits(msgspec.Struct, frozen=True):
    """Limits the pending deliveries of one endpoint."""

    max_deliveries: int
    max_bytes: int = MAX_QUEUED_BYTES
    """The most bytes of the bodies of all pending deliveries; a single body may be larger."""

    def allow(self, deliveries: int, total_bytes: int, more_bytes: int) -> bool:
        """Return whether a queue may take one more delivery; an empty queue may take any delivery.

        Args:
            deliveries: The number of deliveries in the queue.
            total_bytes: The bytes of the bodies of the deliveries in the queue.
            more_bytes: The bytes of the body of the delivery to add.
        """
        return not deliveries or (
            deliveries < self.max_deliveries and total_bytes + more_bytes <= self.max_bytes
        )
