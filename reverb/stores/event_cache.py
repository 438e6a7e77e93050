"""The last event of each cache channel, in this process's memory."""

from collections.abc import Callable

from reverb.interfaces import CachedEvent
from reverb.stores.channel_subscriptions import ChannelKey


class EventCache:
    """Keeps the last event of each channel until the event expires.

    Args:
        seconds: A monotonic clock, in seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        # In the order in which the events were stored. They also expire in this order, if all
        # have the same time to live.
        self._events: dict[ChannelKey, tuple[str, str, float]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def put(self, key: ChannelKey, event: str, data: str, ttl: float) -> None:
        """Store a channel's last event for ``ttl`` seconds.

        Also remove the oldest events one by one, until the oldest event has not expired.
        """
        now = self._seconds()
        self._events.pop(key, None)
        self._events[key] = (event, data, now + ttl)
        while self._events:
            oldest = next(iter(self._events))
            if self._events[oldest][2] > now:
                break
            del self._events[oldest]

    def get(self, key: ChannelKey) -> CachedEvent | None:
        """Return a channel's last event, or None if there is none or it has expired."""
        event, data, expires = self._events.get(key, ("", "", 0.0))
        remaining = expires - self._seconds()
        if remaining <= 0:
            self._events.pop(key, None)
            return None
        return CachedEvent(event, data, remaining)

    def discard(self, key: ChannelKey) -> None:
        """Remove a channel's event, if the cache has one."""
        self._events.pop(key, None)

    def pop(self) -> tuple[ChannelKey, CachedEvent] | None:
        """Remove and return an unexpired event and its channel; None if no such event is left."""
        while self._events:
            key, (event, data, expires) = self._events.popitem()
            remaining = expires - self._seconds()
            if remaining > 0:
                return key, CachedEvent(event, data, remaining)
        return None
