"""Puts events of one endpoint together into the bodies of requests. Pure: time is an argument.

Source: Pusher's documentation, "Webhooks: Batch webhooks" and "Webhook format".
"""

from collections.abc import Sequence

from reverb.webhooks.events import WebhookEvent

MAX_EVENTS = 50
MAX_BYTES = 256 * 1024
WAIT = 0.25
"""Seconds that the first event of a batch waits for others."""
_END = b"]}"
_EMPTY = len(b'{"time_ms":1700000000000,"events":[') + len(_END) - 1
"""Bytes of a body without events, less the comma that one of its events does not have."""


class EventBatch:
    """The events that wait for each other, all of one app and for one endpoint.

    Args:
        several: Whether a body may have several events; if not, none waits.
    """

    def __init__(self, *, batching: bool) -> None:
        self._several = batching
        self._events: list[WebhookEvent] = []
        self._bytes = 0
        self.due_at: float | None = None
        """When the events have waited long enough; None when there are none."""

    def add(self, event: WebhookEvent, now: float) -> list[list[WebhookEvent]]:
        """Add an event.

        Returns:
            The groups that are complete, each for one body: one event at least, 50 and 256 KiB
            at most, but for a single event that is larger by itself.
        """
        complete = []
        size = len(event.json) + 1
        if self._events and self._bytes + size > MAX_BYTES:
            complete.append(self.take())
        if not self._events:
            self._bytes = _EMPTY
            self.due_at = now + WAIT
        self._events.append(event)
        self._bytes += size
        if not self._several or len(self._events) >= MAX_EVENTS or self._bytes >= MAX_BYTES:
            complete.append(self.take())
        return complete

    def take(self) -> list[WebhookEvent]:
        """Take the events that are waiting."""
        events, self._events = self._events, []
        self.due_at = None
        return events


def make_body(time_ms: int, events: Sequence[bytes]) -> bytes:
    """Make the body of a request.

    Args:
        time_ms: When it is made, in milliseconds since 1970; receivers see by it how late it is.
        events: The events' JSON.
    """
    return _start(time_ms) + b",".join(events) + _END


def renew_body(body: bytes, time_ms: int) -> bytes:
    """Make a body anew, with the same events."""
    return _start(time_ms) + body[body.index(b"[") + 1 :]


def _start(time_ms: int) -> bytes:
    return b'{"time_ms":%d,"events":[' % time_ms
