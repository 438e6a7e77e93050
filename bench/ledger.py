"""What has been published to a channel, and in what order it has to arrive.

Each publisher numbers its messages. Messages of one publisher arrive in their
order; those of different publishers may arrive in any order among each other,
as they travel on connections of their own.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.results import RowFailedError

_WORDS = (
    "order", "shipped", "invoice", "customer", "total", "basket", "delivery", "address",
    "confirmed", "pending", "status", "warehouse", "express", "amount", "discount", "payment",
)  # fmt: skip


class Key(NamedTuple):
    """Names one message."""

    publisher: int
    number: int


class GarbledError(RowFailedError):
    """A message that is not what was published."""


def filler(size: int) -> str:
    """Make text that compresses about as well as what applications send.

    It has no character that JSON would escape.
    """
    words: list[str] = []
    length, step = 0, 1
    while length < size:
        # Steps that grow keep the text from repeating itself too soon.
        words.append(f"{_WORDS[step * step % len(_WORDS)]} {step * 7919 % 1000}")
        length += len(words[-1]) + 1
        step += 1
    return " ".join(words)[:size]


class Ledger:
    """The messages of one channel.

    Args:
        size: Bytes of each message's data.

    Attributes:
        issued: How many have been published.
        arrived: How many have been received by somebody.
    """

    def __init__(self, size: int = 128) -> None:
        self.issued = 0
        self.arrived = 0
        self._filler = filler(size)
        self._size = size
        self._published: Counter[int] = Counter()
        self._accepted: Counter[int] = Counter()
        self._times: dict[Key, float] = {}

    def issue(self, publisher: int, time: float) -> str:
        """Take note that a message is published now.

        Returns:
            Its data: who published it, its number, and a filler.
        """
        key = Key(publisher, self._published[publisher])
        self._published[publisher] += 1
        self._times[key] = time
        self.issued += 1
        return self._text(key)

    def _text(self, key: Key) -> str:
        name = f"{key.publisher}.{key.number}."
        return name + self._filler[: max(0, self._size - len(name))]

    def recognise(self, payload: bytes) -> Key | None:
        """Tell which message this is.

        Returns:
            None for what nobody published, which is the protocol's own.

        Raises:
            GarbledError: It looks like one of ours and is not what was published.
        """
        try:
            text = self.text_of(json.loads(payload))
        except (ValueError, TypeError, KeyError):
            raise GarbledError(f"not a message of the protocol: {payload[:100]!r}") from None
        if text is None:
            return None
        publisher, _, rest = text.partition(".")
        number = rest.partition(".")[0]
        if publisher.isdigit() and number.isdigit():
            key = Key(int(publisher), int(number))
            if key.number < self._published[key.publisher] and text == self._text(key):
                return key
        raise GarbledError(f"never published: {payload[:100]!r}")

    def text_of(self, message: Any) -> str | None:
        """Get the data of a message of ours."""
        return str(message["data"]) if message["event"] == "bench" else None

    def accept(self, key: Key) -> bool:
        """Take a message as the next to arrive; refuse it if another one is due."""
        if key.number != self._accepted[key.publisher]:
            return False
        self._accepted[key.publisher] += 1
        self.arrived += 1
        return True

    def time_of(self, key: Key) -> float:
        """Tell when a message that is accepted now was published."""
        return self._times.pop(key)

    def diagnose(self, ahead: Sequence[Key], strays: Sequence[Key]) -> str:
        """Say what went wrong for a subscriber.

        Args:
            ahead: What others have received and this subscriber has not, when
                it went astray.
            strays: All that it has received since.

        Returns:
            Words such as "lost message 7 of publisher 0".
        """
        had = self._accepted - Counter(key.publisher for key in ahead)
        return _lost(self._published, had, strays) or _doubled(had, strays) or _misordered(strays)


class MemberLedger(Ledger):
    """The members who join a presence channel: each is a message to all before."""

    def text_of(self, message: Any) -> str | None:
        """Get the id of the user who joined."""
        if message["event"] != "pusher_internal:member_added":
            return None
        data = message["data"]
        return str((json.loads(data) if isinstance(data, str) else data)["user_id"])


def _name(key: Key) -> str:
    return f"message {key.number} of publisher {key.publisher}"


def _lost(published: Mapping[int, int], had: Mapping[int, int], strays: Sequence[Key]) -> str:
    seen = set(strays)
    missing = [
        key
        for publisher, count in published.items()
        for number in range(had.get(publisher, 0), count)
        if (key := Key(publisher, number)) not in seen
    ]
    if not missing:
        return ""
    return f"lost {_name(missing[0])}" + (
        f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    )


def _doubled(had: Mapping[int, int], strays: Sequence[Key]) -> str:
    seen: set[Key] = set()
    for key in strays:
        if key in seen or key.number < had.get(key.publisher, 0):
            return f"got {_name(key)} twice (doubled)"
        seen.add(key)
    return ""


def _misordered(strays: Sequence[Key]) -> str:
    last: dict[int, int] = {}
    for key in strays:
        if key.number < last.get(key.publisher, -1):
            return f"got {_name(key)} after a later one (misordered)"
        last[key.publisher] = key.number
    return "got the messages in another order than other subscribers (misordered)"
