"""The ``info`` that a request may ask of channels.

Source: Pusher's documentation, "HTTP API: Querying application state".
"""

from typing import Any

from reverb.api.replies import ApiError
from reverb.interfaces import ChannelCounts
from reverb.protocol.names import ChannelKind, channel_type

_NOTHING: frozenset[str] = frozenset()


def parse_info(info: str | None, known: tuple[str, ...]) -> frozenset[str]:
    """Split an ``info`` parameter.

    Args:
        info: Names separated by commas; None or empty for none.
        known: The names that make sense here.

    Raises:
        ApiError: With 400 for any other name.
    """
    if not info:
        return _NOTHING
    names = frozenset(part.strip() for part in info.split(",")) - {""}
    unknown = sorted(names.difference(known))
    if unknown:
        raise ApiError(
            400,
            "info should be a comma separated list of attributes: "
            f"{unknown[0][:60]!r} is not one of {', '.join(known)}",
        )
    return names


def counts_info(channel: str, wanted: frozenset[str], counts: ChannelCounts) -> dict[str, Any]:
    """Say of a channel what was asked; what does not apply to it is left out."""
    info: dict[str, Any] = {}
    if "user_count" in wanted and channel_type(channel).kind is ChannelKind.PRESENCE:
        info["user_count"] = counts.users
    if "subscription_count" in wanted:
        info["subscription_count"] = counts.subscriptions
    return info
