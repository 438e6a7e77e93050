"""Rate-limits repeated log messages, and counts those that it suppresses."""

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

_MAX_KEYS = 1_000
"""The maximum number of keys that are tracked at once.

When this many keys have been logged within one interval, occurrences of further keys are ignored.
"""


class LogThrottle:
    """Calls ``emit`` at most once per interval for each key.

    Args:
        emit: Called with the key, and with the number of occurrences since the last call for
            this key.
        clock: Measures the interval.
        seconds: The interval in seconds.
    """

    def __init__(
        self, emit: Callable[[str, int], None], clock: IReactorTime, seconds: float = 60
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._seconds = seconds
        self._last_emitted: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def record(self, key: str, times: int = 1) -> None:
        """Count occurrences of a key, and call ``emit`` if the interval of the key has passed.

        Args:
            key: The key.
            times: The number of occurrences.
        """
        now = self._clock.seconds()
        if key not in self._last_emitted and not self._make_room(now):
            return
        self._counts[key] = self._counts.get(key, 0) + times
        last = self._last_emitted.get(key)
        if last is None or now - last >= self._seconds:
            self._last_emitted[key] = now
            self._emit_count(key)

    def forget(self, key: str) -> None:
        """Forget a key and its count; ``emit`` is called at the key's next occurrence."""
        self._last_emitted.pop(key, None)
        self._counts.pop(key, None)

    def _emit_count(self, key: str) -> None:
        count, self._counts[key] = self._counts[key], 0
        self._emit(key, count)

    def _make_room(self, now: float) -> bool:
        """Return whether another key can be tracked; forget keys whose interval has passed.

        Keys without suppressed occurrences are forgotten first. Before a key with suppressed
        occurrences is forgotten, ``emit`` is called with the key and the number of occurrences.
        """
        if len(self._last_emitted) < _MAX_KEYS:
            return True
        old = [key for key, last in self._last_emitted.items() if now - last >= self._seconds]
        self._forget_all(key for key in old if not self._counts[key])
        if len(self._last_emitted) >= _MAX_KEYS:
            for key in old:
                self._emit_count(key)
            self._forget_all(old)
        return len(self._last_emitted) < _MAX_KEYS

    def _forget_all(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self.forget(key)
