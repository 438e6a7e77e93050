"""The generator's event loop: epoll, and whom to call."""

import select
from collections.abc import Callable

READ, WRITE, ENDED = select.EPOLLIN, select.EPOLLOUT, 0
"""What to wait for; the end of a connection is told in any case."""

_MOST_EVENTS = 256  # So that a publish that is due waits for a millisecond at most.


class Loop:
    """Calls a function whenever something has come for a file descriptor."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        """Begin to watch."""
        self._callbacks[fd] = callback
        self._poll.register(fd, events)

    def rewatch(self, fd: int, callback: Callable[[], None], events: int | None = None) -> None:
        """Call another function from now on, and wait for something else if need be."""
        self._callbacks[fd] = callback
        if events is not None:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch no more."""
        del self._callbacks[fd]
        self._poll.unregister(fd)

    def turn(self, seconds: float) -> None:
        """Wait until something comes, at most for a time, and call whom it is for."""
        callbacks = self._callbacks
        for fd, _ in self._poll.poll(seconds, _MOST_EVENTS):
            # One callback may have closed what the next event is about.
            callback = callbacks.get(fd)
            if callback is not None:
                callback()

    def close(self) -> None:
        """Give the descriptor back."""
        self._poll.close()
