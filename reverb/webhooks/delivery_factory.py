"""Creates deliveries, with ids that increase."""

from collections.abc import Callable, Sequence

from reverb.webhooks.batches import make_body, renew_body
from reverb.webhooks.delivery import ID_DIGITS, Delivery
from reverb.webhooks.events import WebhookEvent


class IdGenerator:
    """Generates increasing ids from the time.

    Args:
        now: The wall clock, in seconds since 1970. The ids increase even if the clock is set back.
        make_suffix: Makes the text that ends each id. If several processes generate ids at the
            same time, a random suffix makes their ids differ.
    """

    def __init__(self, now: Callable[[], float], make_suffix: Callable[[], str] = str) -> None:
        self._now = now
        self._make_suffix = make_suffix
        self._latest = 0

    def next(self) -> str:
        """Return the next id."""
        # An id begins with the time in microseconds, so that a restart repeats no id. If the clock
        # has not advanced, the number is that of the previous id plus 1.
        self._latest = max(self._latest + 1, int(self._now() * 1_000_000))
        return f"{self._latest:0{ID_DIGITS}x}{self._make_suffix()}"

    def advance_past(self, used: str) -> None:
        """Generate only ids that are greater than ``used`` from now on.

        Args:
            used: An id that was generated before, perhaps by a process whose clock was ahead; empty
                if there is no such id.
        """
        self._latest = max(self._latest, int(used[:ID_DIGITS] or "0", 16))


class DeliveryFactory:
    """Creates deliveries.

    Args:
        ids: Generates the ids of the deliveries.
        now: The wall clock, in seconds since 1970.
    """

    def __init__(self, ids: IdGenerator, now: Callable[[], float]) -> None:
        self._ids = ids
        self._now = now

    def create(self, app_id: str, url: str, events: Sequence[WebhookEvent]) -> Delivery:
        """Create a delivery that contains the given events.

        Args:
            app_id: The app's id.
            url: The endpoint's URL.
            events: The events; all of them belong to the app ``app_id``.
        """
        created = self._now()
        return Delivery(
            id=self._ids.next(),
            app_id=app_id,
            url=url,
            body=make_body(int(created * 1000), [event.json for event in events]),
            created=created,
        )

    def renew(self, delivery: Delivery) -> Delivery:
        """Return a pending copy of a finished delivery, for a replay.

        The copy has the same id, a new creation time and no attempts. The copy's body gets a new
        ``time_ms``, because Pusher's Python SDK refuses bodies older than five minutes.
        """
        now = self._now()
        return Delivery(
            id=delivery.id,
            app_id=delivery.app_id,
            url=delivery.url,
            body=renew_body(delivery.body, int(now * 1000)),
            created=now,
        )
