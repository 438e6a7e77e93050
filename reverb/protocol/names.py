"""The types of channels, and the validation of channel names and user ids.

Source: Pusher's documentation, "Channels" (naming) and "Cache channels".
"""

import re
from enum import StrEnum
from typing import NamedTuple

from reverb.memoize import memoize_short_keys

SERVER_TO_USER_PREFIX = "#server-to-user-"
"""The prefix of the channel through which the app's server sends events to one signed-in user."""

ONLINE_PREFIX = "#online-"
"""The prefix of a user's online channel.

The store uses the online channel to record whether the user is online. Clients
cannot subscribe to it.
"""

INTERNAL_PREFIX = "#"
"""The prefix of server-to-user channels and online channels.

The API does not list these channels, and webhooks do not report them.
"""

_NAME = re.compile(r"(?:#server-to-user-)?[-a-zA-Z0-9_=@,.;]+")
_USER_ID = re.compile(r"[-a-zA-Z0-9_=@,.;]+")


class ChannelKind(StrEnum):
    """The kind of a channel: it determines who may subscribe and what subscribers receive."""

    PUBLIC = "public"
    PRIVATE = "private"
    ENCRYPTED = "encrypted"
    PRESENCE = "presence"
    USER = "server-to-user"


class ChannelType(NamedTuple):
    """A channel's kind, and whether it caches its last event."""

    kind: ChannelKind
    cached: bool

    @property
    def signed(self) -> bool:
        """Whether a subscription to this type of channel needs the app server's signature."""
        return self.kind in _SIGNED


_SIGNED = frozenset({ChannelKind.PRIVATE, ChannelKind.ENCRYPTED, ChannelKind.PRESENCE})

# The first match wins, so a longer prefix precedes each prefix that it begins with.
_TYPES = (
    ("private-encrypted-cache-", ChannelType(ChannelKind.ENCRYPTED, cached=True)),
    ("private-encrypted-", ChannelType(ChannelKind.ENCRYPTED, cached=False)),
    ("private-cache-", ChannelType(ChannelKind.PRIVATE, cached=True)),
    ("private-", ChannelType(ChannelKind.PRIVATE, cached=False)),
    ("presence-cache-", ChannelType(ChannelKind.PRESENCE, cached=True)),
    ("presence-", ChannelType(ChannelKind.PRESENCE, cached=False)),
    ("cache-", ChannelType(ChannelKind.PUBLIC, cached=True)),
    (SERVER_TO_USER_PREFIX, ChannelType(ChannelKind.USER, cached=False)),
)
_PUBLIC = ChannelType(ChannelKind.PUBLIC, cached=False)


def channel_type(name: str) -> ChannelType:
    """Return a channel's type, which follows from the prefix of its name."""
    return _type_of(name)


def _find_type(name: str) -> ChannelType:
    for prefix, type_ in _TYPES:
        if name.startswith(prefix):
            return type_
    return _PUBLIC


_type_of = memoize_short_keys(_find_type, max_entries=4096, max_length=200)


def channel_name_problem(name: str, max_length: int, max_user_id: int) -> str | None:
    """Validate a channel's name.

    Args:
        name: The name, from a client or an API request.
        max_length: The largest allowed number of characters, 0 for no limit. The
            limit does not apply to server-to-user channels.
        max_user_id: The largest allowed number of characters in the user id with
            which the name of a server-to-user channel ends, 0 for no limit.

    Returns:
        A sentence that tells the sender why the name is invalid, or None when the
        name is valid.
    """
    if not _NAME.fullmatch(name):
        return (
            f"Invalid channel name {_quoted(name)}: only letters, digits and _ - = @ , . ; "
            "are allowed, and at least one is required"
        )
    length = len(name)
    if name.startswith(SERVER_TO_USER_PREFIX):
        length, max_length = length - len(SERVER_TO_USER_PREFIX), max_user_id
    if max_length and length > max_length:
        return f"Invalid channel name {_quoted(name)}: longer than {max_length} characters"
    return None


def user_id_problem(user_id: str, max_length: int) -> str | None:
    """Validate a user's id, from a sign-in or an API request.

    Args:
        user_id: The id.
        max_length: The largest allowed number of characters, 0 for no limit.

    Returns:
        A sentence that tells the sender why the id is invalid, or None when the id
        is valid.
    """
    if not _USER_ID.fullmatch(user_id):
        return (
            f"Invalid user id {_quoted(user_id)}: only letters, digits and _ - = @ , . ; "
            "are allowed, and at least one is required"
        )
    if max_length and len(user_id) > max_length:
        return f"Invalid user id {_quoted(user_id)}: longer than {max_length} characters"
    return None


def _quoted(name: str, max_length: int = 60) -> str:
    """Quote an untrusted name for an error message: shortened, and in ASCII."""
    return ascii(name if len(name) <= max_length else name[:max_length] + "...")
