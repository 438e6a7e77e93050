"""Queries: ``GET /channels``, ``/channels/{name}``, ``/channels/{name}/users``, ``/connections``.

Source: Pusher's documentation, "HTTP API: Querying application state".
"""

from typing import Any

from reverb.api.authentication import SignedRequest
from reverb.api.channel_info import make_channel_info, parse_info
from reverb.api.context import ApiContext
from reverb.api.responses import ApiError
from reverb.apps import App
from reverb.protocol.names import INTERNAL_PREFIX, ChannelKind, channel_name_problem, channel_type

_PRESENCE_PREFIX = "presence-"


async def list_channels(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """List the occupied channels whose names start with ``filter_by_prefix``, if it is given.

    Pusher lists no numbers of subscriptions; Laravel Reverb does.

    Raises:
        ApiError: With 400 if ``info`` is invalid, or if ``info`` requests the number of users and
            ``filter_by_prefix`` does not begin with ``presence-``.
    """
    prefix = request.query.get("filter_by_prefix") or ""
    attributes = parse_info(request.query.get("info"), ("user_count", "subscription_count"))
    if "user_count" in attributes and not prefix.startswith(_PRESENCE_PREFIX):
        raise ApiError(
            400,
            "user_count may only be requested for presence channels - please supply "
            "filter_by_prefix beginning with presence-",
        )
    channels = await context.store.channels(request.app.id, prefix)
    return {
        "channels": {
            name: make_channel_info(name, attributes, counts)
            for name, counts in channels.items()
            if not name.startswith(INTERNAL_PREFIX)
        }
    }


async def show_channel(context: ApiContext, request: SignedRequest, channel: str) -> dict[str, Any]:
    """Return whether the channel is occupied, and the attributes that ``info`` requests.

    A channel without subscribers is not an error.
    """
    _check_name(request.app, channel)
    attributes = parse_info(
        request.query.get("info"), ("user_count", "subscription_count", "cache")
    )
    type_ = channel_type(channel)
    if "user_count" in attributes and type_.kind is not ChannelKind.PRESENCE:
        raise ApiError(
            400, "Cannot retrieve the user count unless the channel is a presence channel"
        )
    if "cache" in attributes and not type_.cached:
        raise ApiError(400, "Cannot retrieve the cache unless the channel is a cache channel")
    counts = await context.store.counts(request.app.id, channel)
    state: dict[str, Any] = {"occupied": counts.subscriptions > 0}
    state |= make_channel_info(channel, attributes, counts)
    if "cache" in attributes:
        cached = await context.store.get_cached_event(request.app.id, channel)
        state["cache"] = cached and {"data": cached.data, "ttl": int(cached.ttl)}
    return state


async def list_channel_users(
    context: ApiContext, request: SignedRequest, channel: str
) -> dict[str, Any]:
    """List the ids of a presence channel's users."""
    _check_name(request.app, channel)
    if channel_type(channel).kind is not ChannelKind.PRESENCE:
        raise ApiError(400, "Users can only be retrieved for presence channels")
    members = await context.store.members(request.app.id, channel)
    return {"users": [{"id": user_id} for user_id in members]}


async def show_channel_stats(
    context: ApiContext, request: SignedRequest, channel: str
) -> dict[str, Any]:
    """Return whether the channel is occupied, and its numbers of subscriptions and users.

    Only a presence channel has a number of users. Pusher has deprecated this route.
    """
    _check_name(request.app, channel)
    counts = await context.store.counts(request.app.id, channel)
    stats = {
        "occupied": counts.subscriptions > 0,
        "connection_count": counts.subscriptions,
    }
    return stats | make_channel_info(channel, frozenset({"user_count"}), counts)


async def count_connections(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """Count the app's connections on all nodes, including connections without a subscription."""
    return {"connections": await context.store.connections(request.app.id)}


def _check_name(app: App, name: str) -> None:
    problem = channel_name_problem(name, app.max_channel_name, app.max_user_id)
    if problem:
        raise ApiError(400, problem)
