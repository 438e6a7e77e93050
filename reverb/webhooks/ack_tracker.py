"""Tells a source of events when each of them is done with everywhere."""

from collections.abc import Callable, Collection


class AckTracker:
    """Counts in how many deliveries an event still is.

    Args:
        acknowledge: Called with the ids of events that are in none any more.
    """

    def __init__(self, acknowledge: Callable[[Collection[str]], None]) -> None:
        self._acknowledge = acknowledge
        self._open: dict[str, int] = {}

    def track(self, event_id: str, deliveries: int) -> None:
        """Learn of how many deliveries an event will be part."""
        if deliveries:
            self._open[event_id] = deliveries
        else:
            self._acknowledge([event_id])

    def done(self, event_ids: Collection[str]) -> None:
        """Learn that a delivery of some events is done with; ids that are not known are none."""
        finished = []
        for event_id in event_ids:
            left = self._open.get(event_id, 0) - 1
            if left > 0:
                self._open[event_id] = left
            elif self._open.pop(event_id, None):
                finished.append(event_id)
        if finished:
            self._acknowledge(finished)
