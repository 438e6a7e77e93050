"""The generator's event loop: epoll and callbacks."""

import select
from collections.abc import Callable

READ, WRITE, ENDED = select.EPOLLIN, select.EPOLLOUT, 0
"""Events to wait for; epoll always reports the end of a connection."""

_MAX_EVENTS = 256  # A publish that is due then waits for a millisecond at most.


class Loop:
    """Calls a function when a file descriptor is ready."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, callback: Callable[[], None], events: int = READ) -> None:
        """Watch a file descriptor."""
        self._callbacks[fd] = callback
        self._poll.register(fd, events)

    def rewatch(self, fd: int, callback: Callable[[], None], events: int | None = None) -> None:
        """Replace the callback of a descriptor, and its events if given."""
        self._callbacks[fd] = callback
        if events is not None:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor."""
        del self._callbacks[fd]
        self._poll.unregister(fd)

    def turn(self, seconds: float) -> None:
        """Wait for events, for at most ``seconds``, and run their callbacks."""
        callbacks = self._callbacks
        for fd, _ in self._poll.poll(seconds, _MAX_EVENTS):
            # An earlier callback may have closed this descriptor.
            callback = callbacks.get(fd)
            if callback is not None:
                callback()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._poll.close()
