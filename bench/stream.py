"""The checker: every subscriber of a channel must receive the same bytes.

All subscribers of a channel receive the same bytes after their subscription. The
first subscriber's messages are parsed, checked against the ledger, and stored. The
bytes of the other subscribers must equal the stored bytes at each subscriber's
position: one memory comparison for a whole ``recv()``. It detects loss, duplicates
and wrong order as reliably as parsing does.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from bench.frames import Frame
from bench.ledger import Ledger, MessageKey

_TRIM_BYTES = 1 << 20


class Tally:
    """The deliveries of all streams of a measurement.

    Attributes:
        completed: Messages that reached all subscribers of their channel.
        latencies: Seconds from each publication to each delivery; None while they are
            not recorded.
        astray: The number of subscribers that received a wrong message.
    """

    def __init__(self) -> None:
        self.completed = 0
        self.latencies: array[float] | None = None
        self.astray = 0


class Follower(Protocol):
    """A subscriber, from the view of its stream."""

    @property
    def number(self) -> int:
        """The client's number."""


class Stream:
    """The bytes that subscribers of one channel, or of the same channels, receive.

    Positions count from the first byte of the stream.

    Args:
        channels: The names of the channels; each publisher publishes to one of them.
        ledger: The published messages.
        tally: Counts the deliveries.

    Attributes:
        data: The bytes that not all subscribers have received yet.
        base: The position of the first byte of ``data``.
    """

    __slots__ = (
        "_ends", "_keys", "_low", "_standing", "_strays", "_times",
        "base", "channels", "data", "ledger", "tally",
    )  # fmt: skip

    def __init__(self, channels: Sequence[str], ledger: Ledger, tally: Tally) -> None:
        self.channels = channels
        self.ledger = ledger
        self.tally = tally
        self.data = bytearray()
        self.base = 0
        # The number of subscribers at each position, and the lowest position.
        self._standing: dict[int, int] = {}
        self._low = 0
        # For each message in data: its end, its publishing time, its key.
        self._ends: list[int] = []
        self._times: list[float] = []
        self._keys: list[MessageKey] = []
        self._strays: dict[Follower, tuple[int, list[MessageKey]]] = {}

    def channel_of(self, publisher: int) -> str:
        """Return the channel to which the publisher with a number publishes."""
        return self.channels[publisher % len(self.channels)]

    @property
    def end(self) -> int:
        """The position after the last byte that any subscriber has received."""
        return self.base + len(self.data)

    def enter(self) -> int:
        """Add a subscriber.

        Returns:
            Its position.
        """
        end = self.end
        self._standing[end] = self._standing.get(end, 0) + 1
        self._settle()
        return end

    def leave(self, position: int) -> None:
        """Remove a subscriber that expects no more messages."""
        self._step_off(position)
        self._settle()

    def move(self, old: int, new: int) -> None:
        """Advance a subscriber to a new position."""
        standing = self._standing
        standing[new] = standing.get(new, 0) + 1
        if self.tally.latencies is not None:
            self._record_latencies(self.tally.latencies, old, new)
        left = standing[old] - 1
        if left:
            standing[old] = left
            return
        del standing[old]
        if old <= self._low:
            self._settle()

    def _record_latencies(self, latencies: "array[float]", old: int, new: int) -> None:
        now = monotonic()
        ends = self._ends
        for index in range(bisect_right(ends, old), bisect_right(ends, new)):
            latencies.append(now - self._times[index])

    def _step_off(self, position: int) -> None:
        self._standing[position] -= 1
        if not self._standing[position]:
            del self._standing[position]

    def _settle(self) -> None:
        """Count the messages that all subscribers have received, and trim them sometimes."""
        low = min(self._standing, default=self.end)
        if low > self._low:
            ends = self._ends
            self.tally.completed += bisect_right(ends, low) - bisect_right(ends, self._low)
        self._low = low
        if low - self.base > _TRIM_BYTES:
            self._trim()

    def _trim(self) -> None:
        count = bisect_right(self._ends, self._low)
        boundary = self.boundary(self._low)
        del self.data[: boundary - self.base]
        self.base = boundary
        del self._ends[:count], self._times[:count], self._keys[:count]

    # For subscribers whose bytes differ from the stored ones

    def boundary(self, position: int) -> int:
        """Return the start of the message that contains a position."""
        index = bisect_right(self._ends, position)
        return self._ends[index - 1] if index else self.base

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes between two positions."""
        return bytes(self.data[start - self.base : end - self.base])

    def step(self, position: int, frame: Frame) -> int | None:
        """Check one message that a subscriber received at a message boundary.

        Returns:
            The position after it; the same position if it is a message of the protocol
            itself; None if it is a publication that was not due.

        Raises:
            GarbledError: It resembles a publication, but was never published.
        """
        if self.data.startswith(frame.raw, position - self.base) and position < self.end:
            return position + len(frame.raw)
        key = self.ledger.recognize(frame.payload)
        if key is None:
            return position
        if position < self.end or not self.ledger.accept(key):
            return None
        self.data += frame.raw
        self._ends.append(self.end)
        self._times.append(self.ledger.time_of(key))
        self._keys.append(key)
        return self.end

    def lose(self, follower: Follower, standing: int, position: int) -> list[MessageKey]:
        """Remove a subscriber that received a wrong message.

        Args:
            follower: The subscriber.
            standing: Its recorded position.
            position: The position up to which its bytes were right.

        Returns:
            A list to which its later messages are to be added.
        """
        self.leave(standing)
        self.tally.astray += 1
        strays: list[MessageKey] = []
        self._strays[follower] = position, strays
        return strays

    def problems(self) -> Sequence[str]:
        """Describe the errors; call it after all messages had time to arrive."""
        found = [self._diagnosis(follower) for follower in self._strays]
        missing = self.ledger.issued - self.ledger.arrived
        if missing and not found:
            found.append(f"lost {missing} of {self.ledger.issued} messages: they reached nobody")
        for position, count in self._standing.items():
            messages = len(self._ends) - bisect_right(self._ends, position)
            if messages:
                found.append(f"lost the last {messages} messages for {count} subscribers")
        return [f"channel {self.channels[0]}: {problem}" for problem in found]

    def _diagnosis(self, follower: Follower) -> str:
        position, strays = self._strays[follower]
        ahead = self._keys[bisect_right(self._ends, position) :]
        return f"subscriber {follower.number} {self.ledger.diagnose(ahead, strays)}"
