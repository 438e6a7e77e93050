"""The tree of the API's routes."""

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

from reverb.api.channels import CountConnections, ListChannels
from reverb.api.events import PublishBatch, PublishEvent
from reverb.api.health import Ready, Up
from reverb.api.resources import ApiContext, JsonResource, NotFound
from reverb.api.responses import ApiError, Request
from reverb.api.users import UsersRoute
from reverb.api.webhooks import ListWebhooks
from reverb.memoize import memoize_short_keys


def make_root(context: ApiContext, unavailable_reason: Callable[[], str | None]) -> Resource:
    """Build the tree of routes, and return its root.

    The path prefix of every route is ``context.path``.

    Args:
        context: The services and settings that the resources share.
        unavailable_reason: Returns why the node is not ready, or None when it is.
    """
    root = prefix = NotFound()
    for part in context.path.encode().split(b"/")[1:]:
        child = NotFound()
        prefix.putChild(part, child)
        prefix = child
    prefix.putChild(b"apps", AppsRoute(context))
    prefix.putChild(b"users", UsersRoute(context, None))
    prefix.putChild(b"app", WebSocketRoute())
    prefix.putChild(b"up", Up())
    prefix.putChild(b"ready", Ready(unavailable_reason))
    return root


class AppsRoute(NotFound):
    """``/apps/{id}``, the parent of an app's routes."""

    def __init__(self, context: ApiContext) -> None:
        super().__init__()
        self._context = context
        # Routes keep no state of a request, so an app's requests can share the app's routes.
        self._routes = memoize_short_keys(self._make_routes, max_entries=1024, max_length=200)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the parent of an app's routes. Each route checks later whether the app exists."""
        return self._routes(path)

    def _make_routes(self, path: bytes) -> Resource:
        app_id = path.decode("utf-8", "replace")
        routes = NotFound()
        routes.putChild(b"events", PublishEvent(self._context, app_id))
        routes.putChild(b"batch_events", PublishBatch(self._context, app_id))
        routes.putChild(b"channels", ListChannels(self._context, app_id))
        routes.putChild(b"connections", CountConnections(self._context, app_id))
        routes.putChild(b"users", UsersRoute(self._context, app_id))
        routes.putChild(b"webhooks", ListWebhooks(self._context, app_id))
        return routes


class WebSocketRoute(JsonResource):
    """``/app/{key}`` for a plain HTTP request, which does not ask for a WebSocket upgrade."""

    isLeaf = True

    def handle(self, request: Request) -> Any:
        """Refuse the request with 426 (RFC 9110, 15.5.22)."""
        raise ApiError(
            426,
            "This route is for WebSocket clients, but the request does not ask for an upgrade. "
            "A proxy in front of the server must forward the Upgrade and Connection headers",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )
