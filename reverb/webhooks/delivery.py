"""A delivery: one request to one endpoint, until it is taken or given up."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

_DIGITS = 14
"""Of an id; more may follow."""
_END_OF_TIME = 253_402_300_800
"""Seconds from 1970 to the year 10000, for which nobody has a date."""

State = Literal["pending", "delivered", "dead"]

MAX_DELIVERED = 1_000
"""Deliveries that are kept after they were taken."""
MAX_DEAD = 10_000
MAX_DEAD_BYTES = 64 * 1024 * 1024

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What is raised by reading something that was kept and is none of ours."""


class KeptEvent(msgspec.Struct):
    """What the JSON of an event has at least."""

    name: str
    channel: str


class _Body(msgspec.Struct):
    events: list[KeptEvent]


def check_body(body: bytes) -> None:
    """Check that what was kept as the body of a delivery is one.

    Raises:
        Exception: One of ``UNREADABLE``: it is none.
    """
    msgspec.json.decode(body.decode(), type=_Body)


class Delivery(msgspec.Struct, kw_only=True):
    """One request of one endpoint.

    No secret and no header is part of it: the same secret signs the same body alike, so it is
    signed anew for each attempt, also after a restart. What types say beyond the kind of a value is
    checked where a delivery is read.
    """

    id: Annotated[str, msgspec.Meta(pattern=rf"^[0-9a-f]{{{_DIGITS},}}\Z")]
    """Later ones sort after earlier ones."""
    app_id: str
    url: str
    """The endpoint's."""
    body: bytes
    """As it is signed and sent."""
    created: Annotated[float, msgspec.Meta(ge=0, lt=_END_OF_TIME)]
    """Seconds since 1970, from which the time for retries counts."""
    state: State = "pending"
    attempts: int = 0
    attempted: float | None = None
    """Seconds since 1970 of the last attempt's end."""
    status: int | None = None
    """The status of the response to the last attempt."""
    error: str | None = None
    """Why the last attempt failed."""
    event_ids: tuple[str, ...] = ()
    """What has to be acknowledged when this is done with; empty after a restart."""

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
    """Make a source of ids that sort by the time at which they were made.

    Args:
        now: The wall clock; where it goes back, ids sort as if it did not.
        after: An id that comes before all of them, though another clock made it.
    """
    # Microseconds, and then one more for each: after a restart there are none twice.
    latest = int(after[:_DIGITS] or "0", 16)

    def next_id() -> str:
        nonlocal latest
        latest = max(latest + 1, int(now() * 1_000_000))
        return f"{latest:0{_DIGITS}x}"

    return next_id
