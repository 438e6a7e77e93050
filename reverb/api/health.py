"""Health checks for load balancers and process managers: ``GET /up`` and ``GET /ready``."""

from collections.abc import Callable
from typing import Any

from reverb.api.resources import JsonResource
from reverb.api.responses import ApiError, Request


class Up(JsonResource):
    """``GET /up``: whether the process is running. Laravel Reverb sends the same response."""

    methods = ("GET", "HEAD")

    def handle(self, request: Request) -> Any:
        """Report that the process is running."""
        return {"health": "OK"}


class Ready(JsonResource):
    """``GET /ready``: whether the node should receive new clients.

    Args:
        unavailable_reason: Returns why the node is not ready, or None when it is.
    """

    methods = ("GET", "HEAD")

    def __init__(self, unavailable_reason: Callable[[], str | None]) -> None:
        super().__init__()
        self._unavailable_reason = unavailable_reason

    def handle(self, request: Request) -> Any:
        """Report that the node is ready.

        Raises:
            ApiError: With 503 and the reason when the node is not ready.
        """
        unavailable_reason = self._unavailable_reason()
        if unavailable_reason is not None:
            raise ApiError(503, unavailable_reason)
        return {"ready": True}
