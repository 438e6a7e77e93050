"""Acknowledges an event that, for every endpoint, is in a delivery or was dropped."""

from collections.abc import Callable, Collection


class AckTracker:
    """Counts, for each event, the deliveries that must still include the event.

    Args:
        acknowledge: Called with the ids of events for which the count has reached 0.
    """

    def __init__(self, acknowledge: Callable[[Collection[str]], None]) -> None:
        self._acknowledge = acknowledge
        self._remaining: dict[str, int] = {}

    def track(self, event_id: str, deliveries: int) -> None:
        """Set how many deliveries must include an event; 0 acknowledges the event at once."""
        if deliveries:
            self._remaining[event_id] = deliveries
        else:
            self._acknowledge([event_id])

    def done(self, event_ids: Collection[str]) -> None:
        """Reduce the count of each event by one; ignore events that are not tracked."""
        finished = []
        for event_id in event_ids:
            remaining = self._remaining.get(event_id, 0) - 1
            if remaining > 0:
                self._remaining[event_id] = remaining
            elif self._remaining.pop(event_id, None):
                finished.append(event_id)
        if finished:
            self._acknowledge(finished)
