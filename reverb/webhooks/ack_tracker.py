"""Acknowledges each event when all of its deliveries are finished."""

from collections.abc import Callable, Collection


class AckTracker:
    """Counts the unfinished deliveries of each event.

    Args:
        acknowledge: Called with the ids of events that have no unfinished delivery left.
    """

    def __init__(self, acknowledge: Callable[[Collection[str]], None]) -> None:
        self._acknowledge = acknowledge
        self._remaining: dict[str, int] = {}

    def track(self, event_id: str, deliveries: int) -> None:
        """Set the number of deliveries of an event; 0 acknowledges the event at once."""
        if deliveries:
            self._remaining[event_id] = deliveries
        else:
            self._acknowledge([event_id])

    def done(self, event_ids: Collection[str]) -> None:
        """Record that one delivery of each event is finished; ignore ids that are not tracked."""
        finished = []
        for event_id in event_ids:
            remaining = self._remaining.get(event_id, 0) - 1
            if remaining > 0:
                self._remaining[event_id] = remaining
            elif self._remaining.pop(event_id, None):
                finished.append(event_id)
        if finished:
            self._acknowledge(finished)
