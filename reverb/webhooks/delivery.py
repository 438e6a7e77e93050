"""A delivery: one request to one endpoint, from its creation until it is delivered or dead."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

_ID_DIGITS = 14
"""Minimal number of hexadecimal digits of an id."""
_YEAR_10000 = 253_402_300_800
"""Seconds from 1970 to the year 10000, the first that ``datetime`` cannot represent."""

State = Literal["pending", "delivered", "dead"]

MAX_DELIVERED = 1_000
"""The most delivered requests that are kept."""
MAX_DEAD = 10_000
MAX_DEAD_BYTES = 64 * 1024 * 1024

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions that decoding a stored value raises if it is corrupt, or another program wrote it."""


class StoredEvent(msgspec.Struct):
    """The fields that the JSON of every stored event has."""

    name: str
    channel: str


class _Body(msgspec.Struct):
    events: list[StoredEvent]


def check_body(body: bytes) -> None:
    """Check that a stored value is the body of a delivery.

    Raises:
        Exception: One of ``DECODE_ERRORS`` if it is not.
    """
    msgspec.json.decode(body.decode(), type=_Body)


class Delivery(msgspec.Struct, kw_only=True):
    """One request to one endpoint.

    It contains no secret and no header: each attempt signs the body again, also after a restart,
    and the same secret gives the same signature. Constraints of the annotations (pattern, range)
    are checked when a delivery is read from storage.
    """

    id: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{_ID_DIGITS},}}\Z")]
    """Newer deliveries have greater ids."""
    app_id: str
    url: str
    """The endpoint's URL."""
    body: bytes
    """The body as it is signed and sent."""
    created: Annotated[float, msgspec.Meta(ge=0, lt=_YEAR_10000)]
    """Seconds since 1970; the period of retries starts here."""
    state: State = "pending"
    attempts: int = 0
    attempted: float | None = None
    """When the last attempt ended, in seconds since 1970."""
    status: int | None = None
    """The status of the response to the last attempt."""
    error: str | None = None
    """Why the last attempt failed."""
    event_ids: tuple[str, ...] = ()
    """The events to acknowledge when the delivery is finished; empty after a restart."""

    @property
    def channels(self) -> frozenset[str]:
        """The channels of its events."""
        return frozenset(event["channel"] for event in self.events)

    @property
    def events(self) -> list[dict[str, str]]:
        """Its events, decoded."""
        body = msgspec.json.decode(self.body)
        events: list[dict[str, str]] = body["events"]
        return events


def make_ids(now: Callable[[], float], after: str = "") -> Callable[[], str]:
    """Make a generator of ids that sort by creation time.

    Args:
        now: The wall clock, in seconds since 1970. Ids stay in order when it is set back.
        after: An id that all generated ids must exceed, even if another clock made it.

    Returns:
        A function that returns the next id.
    """
    # Microseconds, so no id repeats after a restart; at least 1 more than the last id.
    latest = int(after[:_ID_DIGITS] or "0", 16)

    def next_id() -> str:
        nonlocal latest
        latest = max(latest + 1, int(now() * 1_000_000))
        return f"{latest:0{_ID_DIGITS}x}"

    return next_id
