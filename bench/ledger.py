"""The messages published to a channel, and the order in which they must arrive.

Each publisher numbers its messages. The messages of one publisher must arrive in
order. Messages of different publishers may arrive in any relative order, as each
publisher has its own connection.
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


class MessageKey(NamedTuple):
    """Identifies one message."""

    publisher: int
    number: int


class GarbledError(RowFailedError):
    """A message differs from the published one."""


def filler(size: int) -> str:
    """Return text that compresses about as well as typical application data.

    It has no characters that JSON escapes.
    """
    words: list[str] = []
    length, step = 0, 1
    while length < size:
        # Growing steps delay repetitions in the text.
        words.append(f"{_WORDS[step * step % len(_WORDS)]} {step * 7919 % 1000}")
        length += len(words[-1]) + 1
        step += 1
    return " ".join(words)[:size]


class Ledger:
    """The messages of one channel.

    Args:
        size: Bytes of each message's data.

    Attributes:
        issued: The number of published messages.
        arrived: The number of messages that at least one subscriber has received.
    """

    def __init__(self, size: int = 128) -> None:
        self.issued = 0
        self.arrived = 0
        self._filler = filler(size)
        self._size = size
        self._published: Counter[int] = Counter()
        self._accepted: Counter[int] = Counter()
        self._times: dict[MessageKey, float] = {}

    def issue(self, publisher: int, time: float) -> str:
        """Record a new message.

        Returns:
            Its data: the publisher, the message's number, and filler text.
        """
        key = MessageKey(publisher, self._published[publisher])
        self._published[publisher] += 1
        self._times[key] = time
        self.issued += 1
        return self._text(key)

    def _text(self, key: MessageKey) -> str:
        name = f"{key.publisher}.{key.number}."
        return name + self._filler[: max(0, self._size - len(name))]

    def recognize(self, payload: bytes) -> MessageKey | None:
        """Identify a message.

        Returns:
            The message's key; None for a message of the protocol itself.

        Raises:
            GarbledError: It looks like a published message, but differs from all of them.
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
            key = MessageKey(int(publisher), int(number))
            if key.number < self._published[key.publisher] and text == self._text(key):
                return key
        raise GarbledError(f"never published: {payload[:100]!r}")

    def text_of(self, message: Any) -> str | None:
        """Return the data of a published message; None for any other message."""
        return str(message["data"]) if message["event"] == "bench" else None

    def accept(self, key: MessageKey) -> bool:
        """Accept a message as the next one to arrive; return False if another one is due."""
        if key.number != self._accepted[key.publisher]:
            return False
        self._accepted[key.publisher] += 1
        self.arrived += 1
        return True

    def time_of(self, key: MessageKey) -> float:
        """Return the publishing time of a message that is being accepted."""
        return self._times.pop(key)

    def diagnose(self, ahead: Sequence[MessageKey], strays: Sequence[MessageKey]) -> str:
        """Describe a subscriber's error.

        Args:
            ahead: Messages that other subscribers had received before this one, at the
                time of the error.
            strays: The messages that it received after the error.

        Returns:
            A phrase such as "lost message 7 of publisher 0".
        """
        had = self._accepted - Counter(key.publisher for key in ahead)
        return _lost(self._published, had, strays) or _doubled(had, strays) or _misordered(strays)


class MemberLedger(Ledger):
    """The members of a presence channel: each join is a message to the earlier members."""

    def text_of(self, message: Any) -> str | None:
        """Return the id of the user who joined; None for any other message."""
        if message["event"] != "pusher_internal:member_added":
            return None
        data = message["data"]
        return str((json.loads(data) if isinstance(data, str) else data)["user_id"])


def _name(key: MessageKey) -> str:
    return f"message {key.number} of publisher {key.publisher}"


def _lost(
    published: Mapping[int, int], had: Mapping[int, int], strays: Sequence[MessageKey]
) -> str:
    seen = set(strays)
    missing = [
        key
        for publisher, count in published.items()
        for number in range(had.get(publisher, 0), count)
        if (key := MessageKey(publisher, number)) not in seen
    ]
    if not missing:
        return ""
    return f"lost {_name(missing[0])}" + (
        f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    )


def _doubled(had: Mapping[int, int], strays: Sequence[MessageKey]) -> str:
    seen: set[MessageKey] = set()
    for key in strays:
        if key in seen or key.number < had.get(key.publisher, 0):
            return f"got {_name(key)} twice (doubled)"
        seen.add(key)
    return ""


def _misordered(strays: Sequence[MessageKey]) -> str:
    last: dict[int, int] = {}
    for key in strays:
        if key.number < last.get(key.publisher, -1):
            return f"got {_name(key)} after a later one (misordered)"
        last[key.publisher] = key.number
    return "got the messages in another order than other subscribers (misordered)"
