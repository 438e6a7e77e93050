"""Queries: ``GET /channels``, ``/channels/{name}``, ``/channels/{name}/users``, ``/connections``.

Source: Pusher's documentation, "HTTP API: Querying application state".
"""

from typing import Any

from twisted.web.resource import Resource

from reverb.api.channel_info import make_channel_info, parse_info
from reverb.api.events import PublishToChannel
from reverb.api.resources import ApiContext, SignedRequest, SignedResource
from reverb.api.responses import ApiError, Request
from reverb.apps import App
from reverb.protocol.names import INTERNAL_PREFIX, ChannelKind, channel_name_problem, channel_type

_PRESENCE_PREFIX = "presence-"


class ListChannels(SignedResource):
    """``GET /apps/{id}/channels``."""

    methods = ("GET", "HEAD")

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the route of one channel, by its name."""
        assert self.app_id is not None
        return ShowChannel(self.context, self.app_id, path.decode("utf-8", "replace"))

    async def handle_signed(self, request: SignedRequest) -> Any:
        """List the occupied channels whose names start with ``filter_by_prefix``, if it is given.

        Raises:
            ApiError: With 400 if ``info`` is invalid, or requests the number of users but the
                prefix does not restrict the list to presence channels.
        """
        prefix = request.query.get("filter_by_prefix") or ""
        attributes = parse_info(request.query.get("info"), ("user_count",))
        if attributes and not prefix.startswith(_PRESENCE_PREFIX):
            raise ApiError(
                400,
                "user_count may only be requested for presence channels - please supply "
                "filter_by_prefix beginning with presence-",
            )
        channels = await self.context.store.channels(request.app.id, prefix)
        return {
            "channels": {
                name: make_channel_info(name, attributes, counts)
                for name, counts in channels.items()
                if not name.startswith(INTERNAL_PREFIX)
            }
        }


class ChannelResource(SignedResource):
    """A read-only route of one channel.

    Args:
        context: The services and settings that the resources share.
        app_id: The app's id.
        name: The channel's name, not validated yet.
    """

    methods = ("GET", "HEAD")

    def __init__(self, context: ApiContext, app_id: str, name: str) -> None:
        super().__init__(context, app_id)
        self.name = name


class ShowChannel(ChannelResource):
    """``GET /apps/{id}/channels/{name}``."""

    def __init__(self, context: ApiContext, app_id: str, name: str) -> None:
        super().__init__(context, app_id, name)
        self.putChild(b"users", ListChannelUsers(context, app_id, name))
        self.putChild(b"events", PublishToChannel(context, app_id, name))
        self.putChild(b"stats", ShowChannelStats(context, app_id, name))

    async def handle_signed(self, request: SignedRequest) -> Any:
        """Return whether the channel is occupied, and the attributes that ``info`` requests.

        A channel without subscribers is not an error.
        """
        _check_name(request.app, self.name)
        attributes = parse_info(
            request.query.get("info"), ("user_count", "subscription_count", "cache")
        )
        type_ = channel_type(self.name)
        if "user_count" in attributes and type_.kind is not ChannelKind.PRESENCE:
            raise ApiError(
                400, "Cannot retrieve the user count unless the channel is a presence channel"
            )
        if "cache" in attributes and not type_.cached:
            raise ApiError(400, "Cannot retrieve the cache unless the channel is a cache channel")
        counts = await self.context.store.counts(request.app.id, self.name)
        state: dict[str, Any] = {"occupied": counts.subscriptions > 0}
        state |= make_channel_info(self.name, attributes, counts)
        if "cache" in attributes:
            cached = await self.context.store.get_cached_event(request.app.id, self.name)
            state["cache"] = cached and {"data": cached.data, "ttl": int(cached.ttl)}
        return state


class ListChannelUsers(ChannelResource):
    """``GET /apps/{id}/channels/{name}/users``."""

    async def handle_signed(self, request: SignedRequest) -> Any:
        """List the ids of a presence channel's users."""
        _check_name(request.app, self.name)
        if channel_type(self.name).kind is not ChannelKind.PRESENCE:
            raise ApiError(400, "Users can only be retrieved for presence channels")
        members = await self.context.store.members(request.app.id, self.name)
        return {"users": [{"id": user_id} for user_id in members]}


class ShowChannelStats(ChannelResource):
    """``GET /apps/{id}/channels/{name}/stats``, which Pusher has deprecated."""

    async def handle_signed(self, request: SignedRequest) -> Any:
        """Return whether the channel is occupied, and its numbers of subscriptions and users.

        Only a presence channel has a number of users.
        """
        _check_name(request.app, self.name)
        counts = await self.context.store.counts(request.app.id, self.name)
        stats = {
            "occupied": counts.subscriptions > 0,
            "connection_count": counts.subscriptions,
        }
        return stats | make_channel_info(self.name, frozenset({"user_count"}), counts)


class CountConnections(SignedResource):
    """``GET /apps/{id}/connections``."""

    methods = ("GET", "HEAD")

    async def handle_signed(self, request: SignedRequest) -> Any:
        """Count the app's connections on all nodes, including those without a subscription."""
        return {"connections": await self.context.store.connections(request.app.id)}


def _check_name(app: App, name: str) -> None:
    problem = channel_name_problem(name, app.max_channel_name)
    if problem:
        raise ApiError(400, problem)
