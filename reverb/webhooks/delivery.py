"""A delivery: one body for one endpoint, from its creation until it is delivered or dead."""

from typing import Annotated, Literal

import msgspec

ID_DIGITS = 14
"""The least number of hexadecimal digits in a delivery's id."""
_ID_FORM = msgspec.Meta(pattern=rf"^[0-9a-f]{{{ID_DIGITS},}}\Z")
_YEAR_10000 = 253_402_300_800
"""Seconds from 1970 to the year 10000, the first that ``datetime`` cannot represent."""

State = Literal["pending", "delivered", "dead"]

MAX_DELIVERED = 1_000
"""The most deliveries in the state ``delivered`` that are kept."""
MAX_DEAD = 10_000
"""The most dead letters that are kept."""
MAX_DEAD_BYTES = 64 * 1024 * 1024
"""The most bytes of the bodies of all dead letters that are kept."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions from decoding a stored value that is corrupt or that another program wrote."""


class StoredEvent(msgspec.Struct):
    """The fields that are in the JSON of every event."""

    name: str
    channel: str


class _Body(msgspec.Struct):
    events: list[StoredEvent]


def check_body(body: bytes) -> None:
    """Check that a stored value is the body of a delivery.

    Raises:
        Exception: The value is not a delivery's body; the exception is one of ``DECODE_ERRORS``.
    """
    msgspec.json.decode(body.decode(), type=_Body)


class Delivery(msgspec.Struct, kw_only=True):
    """A body of webhook events for one endpoint.

    Each attempt to deliver the body is one HTTP request.

    A delivery contains no secret and no header: each attempt signs the body again, with the app's
    present secret. The constraints in the annotations (pattern, range) are checked only when a
    delivery is read from storage.
    """

    id: Annotated[str, _ID_FORM]
    """Newer deliveries have greater ids, as far as the wall clocks of the nodes are correct."""
    app_id: str
    url: str
    """The endpoint's URL."""
    body: bytes
    """The body as it is signed and sent."""
    created: Annotated[float, msgspec.Meta(ge=0, lt=_YEAR_10000)]
    """When the delivery was created or last replayed, in seconds since 1970.

    The retry period starts at this time.
    """
    state: State = "pending"
    attempts: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    attempted: Annotated[float, msgspec.Meta(ge=0, lt=_YEAR_10000)] | None = None
    """When the last attempt ended, in seconds since 1970; None if no attempt has ended yet."""
    status: Annotated[int, msgspec.Meta(ge=0, le=999)] | None = None
    """The status of the response to the last attempt; None if there was no response."""
    error: str | None = None
    """Why the last attempt failed; None if it succeeded."""

    @property
    def channels(self) -> frozenset[str]:
        """The channels of the events in the body."""
        return frozenset(event["channel"] for event in self.events)

    @property
    def events(self) -> list[dict[str, str]]:
        """The events in the body, decoded."""
        body = msgspec.json.decode(self.body)
        events: list[dict[str, str]] = body["events"]
        return events
