"""For load balancers and supervisors: ``GET /up`` and ``/ready``."""

from collections.abc import Callable
from typing import Any

from reverb.api.replies import ApiError, Request
from reverb.api.resources import JsonResource


class Up(JsonResource):
    """``GET /up``: the process lives; Laravel Reverb answers the same."""

    methods = ("GET", "HEAD")

    def answer(self, request: Request) -> Any:
        """Say so."""
        return {"health": "OK"}


class Ready(JsonResource):
    """``GET /ready``: new clients are welcome.

    Args:
        trouble: Says why they are not; None when they are.
    """

    methods = ("GET", "HEAD")

    def __init__(self, unavailable_reason: Callable[[], str | None]) -> None:
        super().__init__()
        self._unavailable_reason = unavailable_reason

    def answer(self, request: Request) -> Any:
        """Say so, or refuse with 503 and the reason."""
        unavailable_reason = self._unavailable_reason()
        if unavailable_reason is not None:
            raise ApiError(503, unavailable_reason)
        return {"ready": True}
