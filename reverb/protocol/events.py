"""What an app's server may publish: the rules for one event.

The HTTP API and the in-process API obey the same ones. Source: Pusher's
documentation, "HTTP API: Publishing events".
"""

import re
from collections.abc import Sequence

from reverb.apps import App
from reverb.protocol.names import channel_name_problem

_SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+")
_RESERVED = ("pusher:", "pusher_internal:")


class EventError(ValueError):
    """An event that may not be published.

    Args:
        message: A sentence that names the field and what was expected.
        too_large: Whether only its size is wrong.
    """

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


def check_event(
    app: App, *, name: str, channels: Sequence[str], data: str, socket_id: str | None
) -> None:
    """Check one event against the app's limits.

    Args:
        app: Whose limits count.
        name: The event's name: any characters, but not the protocol's own prefixes.
        channels: Names of the channels.
        data: The data, as clients would get it.
        socket_id: The connection to exclude, if any.

    Raises:
        EventError: Something is wrong with it.
    """
    _check_name(app, name)
    for field, text in (("name", name), ("data", data)):
        if not text.isascii():
            _check_unicode(field, text)
    if not channels:
        raise EventError("channels: at least one channel is required")
    most = app.max_channels_per_event
    if most and len(channels) > most:
        raise EventError(f"channels: {len(channels)} channels, but an event may name {most}")
    for channel in channels:
        problem = channel_name_problem(channel, app.max_channel_name)
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
    """Tell whether an event's data has more bytes than the limit, 0 for none."""
    # A character takes at most 4 bytes: most data needs no encoding to be found small.
    return bool(limit) and len(data) * 4 > limit and len(data.encode()) > limit


def _check_unicode(field: str, text: str) -> None:
    """Refuse what cannot be sent: half of a surrogate pair has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"{field}: not valid Unicode: {error.reason}") from None


def _check_name(app: App, name: str) -> None:
    if not name:
        raise EventError("name: an event's name may not be empty")
    most = app.max_event_name
    if most and len(name) > most:
        raise EventError(f"name: longer than {most} characters")
    if name.startswith(_RESERVED):
        raise EventError(f"name: {name[:60]!r} is reserved for the protocol's own events")
