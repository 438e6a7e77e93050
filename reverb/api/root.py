"""The tree of the API's routes."""

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

from reverb.api.channels import Channels, Connections
from reverb.api.events import BatchEvents, Events
from reverb.api.health import Ready, Up
from reverb.api.replies import ApiError, Request
from reverb.api.resources import ApiContext, JsonResource, NotFound
from reverb.api.users import Users
from reverb.api.webhooks import WebhookList
from reverb.caches import cache_short_keys


def make_root(context: ApiContext, unavailable_reason: Callable[[], str | None]) -> Resource:
    """Build the tree.

    Args:
        context: What the resources need; its ``path`` is the prefix of all.
        unavailable_reason: Says why the node is not ready; None when it is.
    """
    root = here = NotFound()
    for part in context.path.encode().split(b"/")[1:]:
        below = NotFound()
        here.putChild(part, below)
        here = below
    here.putChild(b"apps", Apps(context))
    here.putChild(b"users", Users(context, None))
    here.putChild(b"app", Upgrades())
    here.putChild(b"up", Up())
    here.putChild(b"ready", Ready(unavailable_reason))
    return root


class Apps(NotFound):
    """``/apps/{id}``."""

    def __init__(self, context: ApiContext) -> None:
        super().__init__()
        self._context = context
        # Routes keep no state: those of the apps in use are made once.
        self._routes = cache_short_keys(self._make_routes, max_entries=1024, max_length=200)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Find an app's routes; whether there is such an app is asked later."""
        return self._routes(path)

    def _make_routes(self, path: bytes) -> Resource:
        app_id = path.decode("utf-8", "replace")
        routes = NotFound()
        routes.putChild(b"events", Events(self._context, app_id))
        routes.putChild(b"batch_events", BatchEvents(self._context, app_id))
        routes.putChild(b"channels", Channels(self._context, app_id))
        routes.putChild(b"connections", Connections(self._context, app_id))
        routes.putChild(b"users", Users(self._context, app_id))
        routes.putChild(b"webhooks", WebhookList(self._context, app_id))
        return routes


class Upgrades(JsonResource):
    """``/app/{key}``, asked for without an upgrade to WebSocket."""

    isLeaf = True

    def answer(self, request: Request) -> Any:
        """Say what is missing (RFC 9110, 15.5.22)."""
        raise ApiError(
            426,
            "This is where WebSocket clients connect: the request asks for no upgrade. Behind a "
            "proxy, let it pass on the Upgrade and Connection headers",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )
