"""The rate limit of client events and of API requests."""


class RateLimit:
    """Limits the number of operations (events or requests) in each window of one second.

    The first operation after the end of a window starts the next window.

    Args:
        per_second: The number of operations allowed in each window; 0 for no limit.
    """

    __slots__ = ("_count", "_started", "per_second")

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._started = float("-inf")
        self._count = 0

    def allow(self, now: float) -> bool:
        """Count one operation, and return whether it is within the limit.

        Args:
            now: The time of a monotonic clock, in seconds.
        """
        if not self.per_second:
            return True
        if now - self._started >= 1:
            self._started = now
            self._count = 0
        self._count += 1
        return self._count <= self.per_second
