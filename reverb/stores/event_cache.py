"""The last events of cache channels, in this process's memory."""

from collections.abc import Callable

from reverb.interfaces import CachedEvent
from reverb.stores.channel_subscriptions import ChannelKey


class EventCache:
    """Remembers each channel's last event for its time.

    Args:
        seconds: A monotonic clock, in seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        # In the order of writing, which with one time to live is that of expiry.
        self._events: dict[ChannelKey, tuple[str, str, float]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def put(self, key: ChannelKey, event: str, data: str, ttl: float) -> None:
        """Keep a channel's last event, and forget those that have expired."""
        now = self._seconds()
        self._events.pop(key, None)
        self._events[key] = (event, data, now + ttl)
        while self._events:
            oldest = next(iter(self._events))
            if self._events[oldest][2] > now:
                break
            del self._events[oldest]

    def get(self, key: ChannelKey) -> CachedEvent | None:
        """Find a channel's last event."""
        event, data, expires = self._events.get(key, ("", "", 0.0))
        left = expires - self._seconds()
        if left <= 0:
            self._events.pop(key, None)
            return None
        return CachedEvent(event, data, left)

    def take_all(self) -> dict[ChannelKey, CachedEvent]:
        """Take all that is remembered; nothing is remembered after that."""
        found = {key: self.get(key) for key in list(self._events)}
        self._events.clear()
        return {key: cached for key, cached in found.items() if cached is not None}
