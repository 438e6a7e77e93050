"""Routes that need no signature: health checks, and ``/app/{key}`` without an upgrade."""

from typing import Any, NoReturn

from reverb.api.context import ApiContext
from reverb.api.responses import ApiError
from reverb.http import Request


def show_up(_context: ApiContext, _request: Request) -> dict[str, Any]:
    """Report that the process is running. Laravel Reverb sends the same response."""
    return {"health": "OK"}


def show_ready(context: ApiContext, _request: Request) -> dict[str, Any]:
    """Report that the node is ready for new clients.

    Raises:
        ApiError: With 503 and the reason when the node is not ready.
    """
    unavailable_reason = context.unavailable_reason()
    if unavailable_reason is not None:
        raise ApiError(503, unavailable_reason)
    return {"ready": True}


def require_upgrade(_context: ApiContext, _request: Request) -> NoReturn:
    """Refuse a request for ``/app/{key}`` that asks for no upgrade (RFC 9110, 15.5.22).

    Raises:
        ApiError: Always, with 426.
    """
    raise ApiError(
        426,
        "This route is for WebSocket clients, but the request does not ask for an upgrade. "
        "A proxy in front of the server must forward the Upgrade and Connection headers",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    )
