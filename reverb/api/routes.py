"""All routes of the HTTP API."""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from reverb.api.authentication import SignedRequest
from reverb.api.channels import (
    count_connections,
    list_channel_users,
    list_channels,
    show_channel,
    show_channel_stats,
)
from reverb.api.context import ApiContext
from reverb.api.events import publish_batch, publish_event, publish_to_channel
from reverb.api.health import require_upgrade, show_ready, show_up
from reverb.api.router import ANY_METHOD, Result, Route, RouteFunction, Router
from reverb.api.users import terminate_connections
from reverb.api.webhooks import (
    list_deliveries,
    list_webhooks,
    replay_dead_letters,
    replay_delivery,
    send_test_event,
    show_delivery,
)
from reverb.http import Request, Response


def make_router(context: ApiContext, prefix: str) -> Router:
    """Make the router of the HTTP API.

    Args:
        context: The parts of the node that the routes' functions use.
        prefix: The prefix of all paths: empty, or a path such as ``/realtime``.
    """
    return Router(_ROUTES, context, prefix)


def _signed(function: RouteFunction) -> RouteFunction:
    """Wrap a route's function: check the signature, then call the function.

    The function is called with a :class:`SignedRequest`. The path's parameter ``app_id`` identifies
    the app. For a path without this parameter, the query's ``auth_key`` identifies the app.
    """
    return partial(_call_signed, function)


def _call_signed(
    function: RouteFunction,
    context: ApiContext,
    request: Request,
    app_id: str | None = None,
    **parameters: str,
) -> Result | Coroutine[Any, Any, Result]:
    signed = context.authenticator.authenticate(request, app_id)
    if isinstance(signed, SignedRequest):
        return function(context, signed, **parameters)
    return _call_when_authenticated(function, context, signed, parameters)


async def _call_when_authenticated(
    function: RouteFunction,
    context: ApiContext,
    authenticating: Coroutine[Any, Any, SignedRequest],
    parameters: dict[str, str],
) -> Result:
    result = function(context, await authenticating, **parameters)
    return result if isinstance(result, Response | dict) else await result


_ROUTES = (
    Route("GET", "/up", show_up),
    Route("GET", "/ready", show_ready),
    Route(ANY_METHOD, "/app/**", require_upgrade),
    Route("POST", "/apps/{app_id}/events", _signed(publish_event)),
    Route("POST", "/apps/{app_id}/batch_events", _signed(publish_batch)),
    Route("GET", "/apps/{app_id}/channels", _signed(list_channels)),
    Route("GET", "/apps/{app_id}/channels/{channel}", _signed(show_channel)),
    Route("GET", "/apps/{app_id}/channels/{channel}/users", _signed(list_channel_users)),
    Route("POST", "/apps/{app_id}/channels/{channel}/events", _signed(publish_to_channel)),
    Route("GET", "/apps/{app_id}/channels/{channel}/stats", _signed(show_channel_stats)),
    Route("GET", "/apps/{app_id}/connections", _signed(count_connections)),
    Route(
        "POST",
        "/apps/{app_id}/users/{user_id}/terminate_connections",
        _signed(terminate_connections),
    ),
    # The Python SDK requests this path.
    Route("POST", "/users/{user_id}/terminate_connections", _signed(terminate_connections)),
    Route("GET", "/apps/{app_id}/webhooks", _signed(list_webhooks)),
    Route("GET", "/apps/{app_id}/webhooks/deliveries", _signed(list_deliveries)),
    Route("GET", "/apps/{app_id}/webhooks/deliveries/{delivery_id}", _signed(show_delivery)),
    Route(
        "POST",
        "/apps/{app_id}/webhooks/deliveries/{delivery_id}/replay",
        _signed(replay_delivery),
    ),
    Route("POST", "/apps/{app_id}/webhooks/dead_letters/replay", _signed(replay_dead_letters)),
    Route("POST", "/apps/{app_id}/webhooks/test", _signed(send_test_event)),
)
