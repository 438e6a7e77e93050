"""The checker: what every subscriber of a channel has to receive, byte for byte.

All subscribers of a channel receive the same bytes after their subscription.
So the messages are parsed once, for whoever gets them first; they are checked
against the ledger, and kept. Whatever another subscriber receives has only to
equal what is kept, at the position that this subscriber has reached: one
comparison of memory for a whole ``recv()``, in which loss, doubling and
disorder show just as surely as in parsed messages.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from bench.frames import Frame
from bench.ledger import Key, Ledger

_TRIM_BYTES = 1 << 20


class Tally:
    """What all streams of a measurement have carried together.

    Attributes:
        completed: Messages that have reached all subscribers of their channel.
        latencies: Seconds from each publication to each delivery, while they
            are wanted; None while they are not.
        astray: How many subscribers received what was not due.
    """

    def __init__(self) -> None:
        self.completed = 0
        self.latencies: array[float] | None = None
        self.astray = 0


class Follower(Protocol):
    """A subscriber, as its stream sees it."""

    @property
    def number(self) -> int:
        """Which of all clients it is."""


class Stream:
    """The bytes that follow the subscriptions to one channel.

    Positions count from the first byte that ever was in it.

    Args:
        channel: The channel's name.
        ledger: What is published to it.
        tally: Told of what has been delivered.

    Attributes:
        data: The bytes that some have received and others may have not.
        base: The position of the first of them.
    """

    __slots__ = (
        "_ends", "_keys", "_low", "_standing", "_strays", "_times",
        "base", "channel", "data", "ledger", "tally",
    )  # fmt: skip

    def __init__(self, channel: str, ledger: Ledger, tally: Tally) -> None:
        self.channel = channel
        self.ledger = ledger
        self.tally = tally
        self.data = bytearray()
        self.base = 0
        # How many subscribers stand at a position, and the lowest that is occupied.
        self._standing: dict[int, int] = {}
        self._low = 0
        # Of each message in data: where it ends, when it was published, its name.
        self._ends: list[int] = []
        self._times: list[float] = []
        self._keys: list[Key] = []
        self._strays: dict[Follower, tuple[int, list[Key]]] = {}

    @property
    def end(self) -> int:
        """The position behind the last byte that anybody has received."""
        return self.base + len(self.data)

    def enter(self) -> int:
        """Let a subscriber in.

        Returns:
            Its position.
        """
        end = self.end
        self._standing[end] = self._standing.get(end, 0) + 1
        self._settle()
        return end

    def leave(self, position: int) -> None:
        """Let a subscriber go, whom nothing more is due."""
        self._step_off(position)
        self._settle()

    def move(self, old: int, new: int) -> None:
        """Move a subscriber, who has received what lies between."""
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
        """Take note of what all have received, and forget it now and then."""
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

    # For whom the fast comparison does not suffice

    def boundary(self, position: int) -> int:
        """Find where the message begins in which a position lies."""
        index = bisect_right(self._ends, position)
        return self._ends[index - 1] if index else self.base

    def between(self, start: int, end: int) -> bytes:
        """Get the bytes between two positions."""
        return bytes(self.data[start - self.base : end - self.base])

    def step(self, position: int, frame: Frame) -> int | None:
        """Take one message that a subscriber received at a position between messages.

        Returns:
            The position behind it; the same position for a message that is no
            publication; None if it is a publication that was not due.

        Raises:
            GarbledError: It is like a publication and was never made.
        """
        if self.data.startswith(frame.raw, position - self.base) and position < self.end:
            return position + len(frame.raw)
        key = self.ledger.recognise(frame.payload)
        if key is None:
            return position
        if position < self.end or not self.ledger.accept(key):
            return None
        self.data += frame.raw
        self._ends.append(self.end)
        self._times.append(self.ledger.time_of(key))
        self._keys.append(key)
        return self.end

    def lose(self, follower: Follower, standing: int, position: int) -> list[Key]:
        """Let a subscriber go that has received what was not due.

        Args:
            follower: The subscriber.
            standing: The position that is known of it.
            position: The one up to which all was as it should be.

        Returns:
            The list to which to add what it receives from now on.
        """
        self.leave(standing)
        self.tally.astray += 1
        strays: list[Key] = []
        self._strays[follower] = position, strays
        return strays

    def problems(self) -> Sequence[str]:
        """Say what went wrong, once everything has had the time to arrive."""
        found = [self._diagnosis(follower) for follower in self._strays]
        missing = self.ledger.issued - self.ledger.arrived
        if missing and not found:
            found.append(f"lost {missing} of {self.ledger.issued} messages: they reached nobody")
        for position, count in self._standing.items():
            messages = len(self._ends) - bisect_right(self._ends, position)
            if messages:
                found.append(f"lost the last {messages} messages for {count} subscribers")
        return [f"channel {self.channel}: {problem}" for problem in found]

    def _diagnosis(self, follower: Follower) -> str:
        position, strays = self._strays[follower]
        ahead = self._keys[bisect_right(self._ends, position) :]
        return f"subscriber {follower.number} {self.ledger.diagnose(ahead, strays)}"
