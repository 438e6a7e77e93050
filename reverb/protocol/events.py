"""Validation of the events that an app's server publishes.

The rules for events are the same in the HTTP API and in the in-process API.
Source: Pusher's documentation, "HTTP API: Publishing events".
"""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec

from reverb.apps import App
from reverb.protocol.names import channel_name_problem

_SOCKET_ID = re.compile(r"[0-9]++\.[0-9]++")
_RESERVED = ("pusher:", "pusher_internal:")
StoredEventName = Annotated[
    str, msgspec.Meta(min_length=1, pattern=rf"^(?!{'|'.join(_RESERVED)})[\s\S]")
]
"""The name of a published event. msgspec checks the name when the store returns a cached event."""


class EventError(ValueError):
    """An event breaks a rule and is not published.

    Args:
        message: A sentence that names the invalid field of the event, and the rule that it breaks.
        too_large: Whether the event breaks only the limit on the size of its data.
    """

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


def check_event(
    app: App, *, name: str, channels: Sequence[str], data: str, socket_id: str | None
) -> None:
    """Check one event against the protocol's rules and the app's limits.

    Args:
        app: The app that sets the limits.
        name: The event's name: any text that is not empty, and does not begin with
            ``pusher:`` or ``pusher_internal:``.
        channels: The names of the channels.
        data: The event's data, as clients receive it.
        socket_id: The socket id of the one connection that must not receive the event;
            None to exclude none.

    Raises:
        EventError: The event breaks a rule or exceeds a limit.
    """
    _check_name(app, name)
    for field, text in (("name", name), ("data", data)):
        if not text.isascii():
            _check_unicode(field, text)
    if not channels:
        raise EventError("channels: at least one channel is required")
    limit = app.max_channels_per_event
    if limit and len(channels) > limit:
        raise EventError(
            f"channels: {len(channels)} channels, but an event may name at most {limit}"
        )
    for channel in channels:
        problem = channel_name_problem(channel, app.max_channel_name, app.max_user_id)
        if problem:
            raise EventError(problem)
    if socket_id is not None and not _SOCKET_ID.fullmatch(socket_id):
        raise EventError(f"socket_id: {socket_id[:60]!r} is not of the form digits.digits")
    if is_too_large(data, app.max_event_bytes):
        raise EventError(
            "The data content of this event exceeds the allowed maximum "
            f"({app.max_event_bytes} bytes)",
            too_large=True,
        )


def is_too_large(data: str, limit: int) -> bool:
    """Return whether an event's data has more bytes than the limit; a limit of 0 means no limit."""
    # A character takes at most 4 bytes, so most data passes without being encoded.
    return bool(limit) and len(data) * 4 > limit and len(data.encode()) > limit


def _check_unicode(field: str, text: str) -> None:
    """Reject text that UTF-8 cannot encode, because it contains half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"{field}: not valid Unicode: {error.reason}") from None


def _check_name(app: App, name: str) -> None:
    if not name:
        raise EventError("name: an event's name may not be empty")
    limit = app.max_event_name
    if limit and len(name) > limit:
        raise EventError(f"name: longer than {limit} characters")
    if name.startswith(_RESERVED):
        raise EventError(f"name: {name[:60]!r} is reserved for the protocol's own events")
