"""The attributes of channels that a request may ask for in its ``info`` parameter.

Source: Pusher's documentation, "HTTP API: Querying application state".
"""

from typing import Any

from reverb.api.responses import ApiError
from reverb.interfaces import ChannelCounts
from reverb.protocol.names import ChannelKind, channel_type

_NO_ATTRIBUTES: frozenset[str] = frozenset()


def parse_info(info: str | None, known: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the attributes in an ``info`` parameter.

    Args:
        info: Names of attributes, separated by commas; None or empty for no attributes.
        known: The names that the route supports.

    Raises:
        ApiError: With 400 if the route does not support one of the names.
    """
    if not info:
        return _NO_ATTRIBUTES
    names = frozenset(part.strip() for part in info.split(",")) - {""}
    unknown = sorted(names.difference(known))
    if unknown:
        raise ApiError(
            400,
            "info should be a comma separated list of attributes: "
            f"{unknown[0][:60]!r} is not one of {', '.join(known)}",
        )
    return names


def make_channel_info(
    channel: str, attributes: frozenset[str], counts: ChannelCounts
) -> dict[str, Any]:
    """Return the requested counts of a channel, by attribute.

    Only a presence channel has a ``user_count``.

    Args:
        channel: The channel's name.
        attributes: The names of the requested attributes; names that are not counts are ignored.
        counts: The channel's counts.
    """
    info: dict[str, Any] = {}
    if "user_count" in attributes and channel_type(channel).kind is ChannelKind.PRESENCE:
        info["user_count"] = counts.users
    if "subscription_count" in attributes:
        info["subscription_count"] = counts.subscriptions
    return info
