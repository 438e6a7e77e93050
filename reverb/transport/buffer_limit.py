"""Limits the bytes that are queued for one client."""


class BufferLimit:
    """Limits the bytes that are queued for one client.

    A message may be queued if at most ``max_bytes`` are queued already. So the queue has at most
    ``max_bytes`` and one message. The size of a queued message that is larger than ``max_bytes``,
    such as a long list of members, does not count against the limit.

    Args:
        max_bytes: The most bytes that may be queued already when a message is added; 0 for no
            limit.
    """

    __slots__ = ("_allowed", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._allowed = max_bytes

    def admits(self, queued: int, size: int) -> bool:
        """Return whether a message may be queued.

        Args:
            queued: The number of bytes that are queued already.
            size: The size of the message in bytes.
        """
        max_bytes = self._max_bytes
        if queued <= max_bytes or not max_bytes:
            self._allowed = max_bytes + size if size > max_bytes else max_bytes
            return True
        return queued + size <= self._allowed

    def remove(self) -> None:
        """Remove the limit: admit all messages from now on."""
        self._max_bytes = 0
