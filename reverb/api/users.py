"""Users: ``POST /users/{id}/terminate_connections``.

Source: Pusher's documentation, "HTTP API: Terminating user connections".
"""

from typing import Any

from twisted.web.resource import Resource

from reverb.api.resources import (
    ApiContext,
    JsonResource,
    NotFound,
    PublishingResource,
    PublishResult,
    SignedRequest,
)
from reverb.api.responses import ApiError, Request
from reverb.protocol.names import user_id_problem


class UsersRoute(JsonResource):
    """``/apps/{id}/users``, or ``/users``, which the Python SDK requests.

    Args:
        context: The services and settings that the resources share.
        app_id: The app's id, or None where ``auth_key`` identifies the app.
    """

    def __init__(self, context: ApiContext, app_id: str | None) -> None:
        super().__init__()
        self._context = context
        self._app_id = app_id

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the parent of one user's routes, by the user's id."""
        user = NotFound()
        terminate = TerminateConnections(
            self._context, self._app_id, path.decode("utf-8", "replace")
        )
        user.putChild(b"terminate_connections", terminate)
        return user

    def handle(self, request: Request) -> Any:
        """Refuse the request with 404: the API does not list users."""
        return NotFound().handle(request)


class TerminateConnections(PublishingResource):
    """``POST /users/{id}/terminate_connections``."""

    def __init__(self, context: ApiContext, app_id: str | None, user_id: str) -> None:
        super().__init__(context, app_id)
        self.user_id = user_id

    def handle_signed(self, request: SignedRequest) -> Any:
        """Close every connection, on all nodes, on which the user is signed in."""
        problem = user_id_problem(self.user_id)
        if problem:
            raise ApiError(400, problem)
        return PublishResult(self.context.hub.terminate(request.app, self.user_id), {})
