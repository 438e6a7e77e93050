"""All routes of the HTTP API."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from reverb.api.authentication import SignedHead
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
from reverb.api.home import HomePage
from reverb.api.router import ANY_METHOD, Content, Result, Route, RouteFunction, Router
from reverb.api.users import terminate_connections
from reverb.api.webhooks import (
    list_deliveries,
    list_webhooks,
    replay_dead_letters,
    replay_delivery,
    send_test_event,
    show_delivery,
)
from reverb.http import Request


def make_router(context: ApiContext, prefix: str) -> Router:
    """Make the router of the HTTP API.

    Args:
        context: The parts of the node that the routes' functions use.
        prefix: The prefix of all paths: empty, or a path such as ``/realtime``.
    """
    home = HomePage(prefix)
    # A load balancer may check the root even if the routes have a prefix.
    root = [Route("GET", path, home.show) for path in dict.fromkeys(["/", prefix, f"{prefix}/"])]
    return Router(_ROUTES, context, prefix, unprefixed=root)


SignedFunction = Callable[..., Content | Coroutine[Any, Any, Content]]
"""The function of a route whose requests must be signed. Its arguments are the context, the
:class:`SignedRequest`, and, by name, the path's parameters except ``app_id``."""


def _signed(function: SignedFunction) -> RouteFunction:
    """Return a route's function that checks the signature, and then calls ``function``.

    ``function`` is called with a :class:`SignedRequest`. The path's parameter ``app_id`` identifies
    the app. For a path without ``app_id``, the query's ``auth_key`` identifies the app.
    """
    return partial(_call_signed, function)


def _call_signed(
    function: SignedFunction,
    context: ApiContext,
    request: Request,
    app_id: str | None = None,
    **parameters: str,
) -> Result | Coroutine[Any, Any, Result]:
    """Check the signature before the body is read; call ``function`` when the body is complete."""
    signed = context.authenticator.authenticate(request, app_id)
    if isinstance(signed, SignedHead):
        return partial(_receive_body, function, context, signed, parameters)
    return _await_head(function, context, signed, parameters)


def _receive_body(
    function: SignedFunction,
    context: ApiContext,
    head: SignedHead,
    parameters: dict[str, str],
    body: bytes,
) -> Content | Coroutine[Any, Any, Content]:
    request = context.authenticator.receive_body(head, body)
    return function(context, request, **parameters)


async def _await_head(
    function: SignedFunction,
    context: ApiContext,
    authenticating: Coroutine[Any, Any, SignedHead],
    parameters: dict[str, str],
) -> Result:
    return partial(_receive_body, function, context, await authenticating, parameters)


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
