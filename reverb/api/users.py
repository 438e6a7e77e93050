"""Users: ``POST /users/{id}/terminate_connections``.

Source: Pusher's documentation, "HTTP API: Terminating user connections".
"""

from typing import Any

from twisted.web.resource import Resource

from reverb.api.replies import ApiError, Request
from reverb.api.resources import (
    ApiContext,
    JsonResource,
    NotFound,
    PublishingResource,
    PublishResult,
    SignedRequest,
)
from reverb.protocol.names import user_id_problem


class Users(JsonResource):
    """``/users``: below an app's route, or, as the Python SDK has it, alone.

    Args:
        context: What resources need.
        app_id: The app's; None where the signature's key names it.
    """

    def __init__(self, context: ApiContext, app_id: str | None) -> None:
        super().__init__()
        self._context = context
        self._app_id = app_id

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Find a user by id."""
        user = NotFound()
        terminate = TerminateConnections(
            self._context, self._app_id, path.decode("utf-8", "replace")
        )
        user.putChild(b"terminate_connections", terminate)
        return user

    def answer(self, request: Request) -> Any:
        """Refuse: there is no list of users."""
        return NotFound().answer(request)


class TerminateConnections(PublishingResource):
    """``POST /users/{id}/terminate_connections``."""

    def __init__(self, context: ApiContext, app_id: str | None, user_id: str) -> None:
        super().__init__(context, app_id)
        self.user_id = user_id

    def handle(self, call: SignedRequest) -> Any:
        """Close every connection that the user is signed in on."""
        problem = user_id_problem(self.user_id)
        if problem:
            raise ApiError(400, problem)
        return PublishResult(self.context.hub.terminate(call.app, self.user_id), {})
