"""What a channel's name says about the channel.

Source: Pusher's documentation, "Channels" (naming) and "Cache channels".
"""

import re
from enum import StrEnum
from typing import NamedTuple

from reverb.caches import cache_short_keys

SERVER_TO_USER_PREFIX = "#server-to-user-"
"""Begins the channel on which the server reaches one signed-in user."""

ONLINE_PREFIX = "#online-"
"""Begins the channel by which nodes keep account of a user who is online; no client's name."""

INTERNAL_PREFIX = "#"
"""Begins the channels of users, which are the server's own affair: no list and no webhook tells
of them."""

MAX_USER_ID = 200
"""Characters in a user's id, as the official SDKs check it."""

_NAME = re.compile(r"(?:#server-to-user-)?[-a-zA-Z0-9_=@,.;]+")
_USER_ID = re.compile(r"[-a-zA-Z0-9_=@,.;]+")


class ChannelKind(StrEnum):
    """What a subscription to the channel takes, and what it brings."""

    PUBLIC = "public"
    PRIVATE = "private"
    ENCRYPTED = "encrypted"
    PRESENCE = "presence"
    USER = "server-to-user"


class ChannelType(NamedTuple):
    """A channel's kind, and whether it remembers its last event."""

    kind: ChannelKind
    cached: bool

    @property
    def signed(self) -> bool:
        """Whether a subscription needs a signature from the app's server."""
        return self.kind in _SIGNED


_SIGNED = frozenset({ChannelKind.PRIVATE, ChannelKind.ENCRYPTED, ChannelKind.PRESENCE})

# Longer prefixes come before those that they begin with.
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
    """Tell a channel's type from the prefix of its name."""
    return _type_of(name)


def _find_type(name: str) -> ChannelType:
    for prefix, type_ in _TYPES:
        if name.startswith(prefix):
            return type_
    return _PUBLIC


_type_of = cache_short_keys(_find_type, max_entries=4096, max_length=200)


def channel_name_problem(name: str, max_length: int) -> str | None:
    """Say what is wrong with a channel's name.

    Args:
        name: The name, from a client or an API request.
        max_length: Characters that it may have, 0 for any number. The prefix
            of a server-to-user channel does not count, so that every user id
            that the SDKs allow can be reached.

    Returns:
        A sentence for whoever sent the name, or None when nothing is wrong.
    """
    if not _NAME.fullmatch(name):
        return (
            f"Invalid channel name {_shown(name)}: only letters, digits and _ - = @ , . ; "
            "are allowed, and at least one of them"
        )
    length = len(name) - (
        len(SERVER_TO_USER_PREFIX) if name.startswith(SERVER_TO_USER_PREFIX) else 0
    )
    if max_length and length > max_length:
        return f"Invalid channel name {_shown(name)}: longer than {max_length} characters"
    return None


def user_id_problem(user_id: str) -> str | None:
    """Say what is wrong with the id of a user who signs in or is addressed."""
    if not _USER_ID.fullmatch(user_id):
        return (
            f"Invalid user id {_shown(user_id)}: only letters, digits and _ - = @ , . ; "
            "are allowed, and at least one of them"
        )
    if len(user_id) > MAX_USER_ID:
        return f"Invalid user id {_shown(user_id)}: longer than {MAX_USER_ID} characters"
    return None


def _shown(name: str, most: int = 60) -> str:
    """Quote a name that may be long or hold anything, for an error message."""
    return ascii(name if len(name) <= most else name[:most] + "...")
