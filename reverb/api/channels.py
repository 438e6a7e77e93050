"""Asking: ``GET /channels``, ``/channels/{name}``, ``/channels/{name}/users``, ``/connections``.

Source: Pusher's documentation, "HTTP API: Querying application state".
"""

from typing import Any

from twisted.web.resource import Resource

from reverb.api.channel_info import counts_info, parse_info
from reverb.api.events import ChannelEvents
from reverb.api.replies import ApiError, Request
from reverb.api.resources import ApiContext, SignedRequest, SignedResource
from reverb.apps import App
from reverb.protocol.names import INTERNAL_PREFIX, ChannelKind, channel_name_problem, channel_type

_PRESENCE = "presence-"


class Channels(SignedResource):
    """``GET /apps/{id}/channels``."""

    methods = ("GET", "HEAD")

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Find a channel by its name."""
        assert self.app_id is not None
        return Channel(self.context, self.app_id, path.decode("utf-8", "replace"))

    async def handle(self, call: SignedRequest) -> Any:
        """List the occupied channels."""
        prefix = call.arguments.one("filter_by_prefix") or ""
        wanted = parse_info(call.arguments.one("info"), ("user_count",))
        if wanted and not prefix.startswith(_PRESENCE):
            raise ApiError(
                400,
                "user_count may only be requested for presence channels - please supply "
                "filter_by_prefix beginning with presence-",
            )
        channels = await self.context.store.channels(call.app.id, prefix)
        return {
            "channels": {
                name: counts_info(name, wanted, here)
                for name, here in channels.items()
                if not name.startswith(INTERNAL_PREFIX)
            }
        }


class ChannelResource(SignedResource):
    """A route below one channel.

    Args:
        context: What resources need.
        app_id: The app's.
        name: The channel's, not checked yet.
    """

    methods = ("GET", "HEAD")

    def __init__(self, context: ApiContext, app_id: str, name: str) -> None:
        super().__init__(context, app_id)
        self.name = name


class Channel(ChannelResource):
    """``GET /apps/{id}/channels/{name}``."""

    def __init__(self, context: ApiContext, app_id: str, name: str) -> None:
        super().__init__(context, app_id, name)
        self.putChild(b"users", Users(context, app_id, name))
        self.putChild(b"events", ChannelEvents(context, app_id, name))
        self.putChild(b"stats", Stats(context, app_id, name))

    async def handle(self, call: SignedRequest) -> Any:
        """Tell of one channel; one that nobody uses is not an error."""
        _check_name(call.app, self.name)
        wanted = parse_info(
            call.arguments.one("info"), ("user_count", "subscription_count", "cache")
        )
        type_ = channel_type(self.name)
        if "user_count" in wanted and type_.kind is not ChannelKind.PRESENCE:
            raise ApiError(
                400, "Cannot retrieve the user count unless the channel is a presence channel"
            )
        if "cache" in wanted and not type_.cached:
            raise ApiError(400, "Cannot retrieve the cache unless the channel is a cache channel")
        counts = await self.context.store.counts(call.app.id, self.name)
        answer: dict[str, Any] = {"occupied": counts.subscriptions > 0}
        answer |= counts_info(self.name, wanted, counts)
        if "cache" in wanted:
            cached = await self.context.store.get_cached_event(call.app.id, self.name)
            answer["cache"] = cached and {"data": cached.data, "ttl": int(cached.ttl)}
        return answer


class Users(ChannelResource):
    """``GET /apps/{id}/channels/{name}/users``."""

    async def handle(self, call: SignedRequest) -> Any:
        """List a presence channel's users."""
        _check_name(call.app, self.name)
        if channel_type(self.name).kind is not ChannelKind.PRESENCE:
            raise ApiError(400, "Users can only be retrieved for presence channels")
        members = await self.context.store.members(call.app.id, self.name)
        return {"users": [{"id": user_id} for user_id in members]}


class Stats(ChannelResource):
    """``GET /apps/{id}/channels/{name}/stats``, which Pusher deprecates."""

    async def handle(self, call: SignedRequest) -> Any:
        """Tell how many use a channel."""
        _check_name(call.app, self.name)
        counts = await self.context.store.counts(call.app.id, self.name)
        answer = {
            "occupied": counts.subscriptions > 0,
            "connection_count": counts.subscriptions,
        }
        return answer | counts_info(self.name, frozenset({"user_count"}), counts)


class Connections(SignedResource):
    """``GET /apps/{id}/connections``."""

    methods = ("GET", "HEAD")

    async def handle(self, call: SignedRequest) -> Any:
        """Count the app's connections, subscribed to something or not."""
        return {"connections": await self.context.store.connections(call.app.id)}


def _check_name(app: App, name: str) -> None:
    problem = channel_name_problem(name, app.max_channel_name)
    if problem:
        raise ApiError(400, problem)
