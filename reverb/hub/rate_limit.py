"""How often something may happen."""


class RateLimit:
    """Allows so many in each second, counted from the first.

    Args:
        per_second: How many; 0 for any number.
    """

    __slots__ = ("_began", "_count", "per_second")

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._began = float("-inf")
        self._count = 0

    def allow(self, now: float) -> bool:
        """Count one more, and tell whether it is still within the limit.

        Args:
            now: A monotonic clock's time, in seconds.
        """
        if not self.per_second:
            return True
        if now - self._began >= 1:
            self._began = now
            self._count = 0
        self._count += 1
        return self._count <= self.per_second
