"""Groups the events of one endpoint into request bodies.

This module reads no clock: callers pass the time.

Source: Pusher's documentation, "Webhooks: Batch webhooks" and "Webhook format".
"""

from collections.abc import Sequence

from reverb.webhooks.events import WebhookEvent

MAX_EVENTS = 50
"""The most events in one body."""
MAX_BYTES = 256 * 1024
"""The most bytes of a body with several events."""
BATCH_DELAY = 0.25
"""Seconds for which the first event of a batch waits for others."""
_BODY_END = b"]}"
_EMPTY_BODY_BYTES = len(b'{"time_ms":1700000000000,"events":[') + len(_BODY_END) - 1
"""Size in bytes of a body without events, minus 1: :meth:`EventBatch.add` counts a comma for each
event, but no comma follows the last event."""


class EventBatch:
    """Collects the events of one endpoint of one app into batches.

    Args:
        batching: Whether a body may contain several events; if not, :meth:`add` returns each event
            at once.
    """

    def __init__(self, *, batching: bool) -> None:
        self._batching = batching
        self._events: list[WebhookEvent] = []
        self._bytes = 0
        self.due_at: float | None = None
        """When the batch must be sent, by the clock of :meth:`add`; None if the batch is empty."""

    def add(self, event: WebhookEvent, now: float) -> list[list[WebhookEvent]]:
        """Add an event.

        Args:
            event: The event.
            now: The present time, in seconds of any monotonic clock.

        Returns:
            The groups of events that are complete, each for one body. A group has 1 to
            ``MAX_EVENTS`` events. A group's body exceeds ``MAX_BYTES`` only if the group has a
            single event.
        """
        complete = []
        size = len(event.json) + 1
        if self._events and self._bytes + size > MAX_BYTES:
            complete.append(self.take())
        if not self._events:
            self._bytes = _EMPTY_BODY_BYTES
            self.due_at = now + BATCH_DELAY
        self._events.append(event)
        self._bytes += size
        if not self._batching or len(self._events) >= MAX_EVENTS or self._bytes >= MAX_BYTES:
            complete.append(self.take())
        return complete

    def take(self) -> list[WebhookEvent]:
        """Remove and return the events of the batch."""
        events, self._events = self._events, []
        self.due_at = None
        return events


def make_body(time_ms: int, events: Sequence[bytes]) -> bytes:
    """Make the body of a webhook request.

    Args:
        time_ms: When the body is made, in milliseconds since 1970. Receivers derive the age of the
            request from ``time_ms``.
        events: The JSON of each event.
    """
    return _body_start(time_ms) + b",".join(events) + _BODY_END


def renew_body(body: bytes, time_ms: int) -> bytes:
    """Return a body with the same events and a new ``time_ms``."""
    return _body_start(time_ms) + body[body.index(b"[") + 1 :]


def _body_start(time_ms: int) -> bytes:
    return b'{"time_ms":%d,"events":[' % time_ms
