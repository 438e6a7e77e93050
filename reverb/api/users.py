"""Users: ``POST /users/{id}/terminate_connections``.

Source: Pusher's documentation, "HTTP API: Terminating user connections". Members
of presence channels are users too, as in Laravel Reverb, which has no sign-in.
"""

from reverb.api.authentication import SignedRequest
from reverb.api.context import ApiContext
from reverb.api.responses import ApiError, make_publish_response
from reverb.http import Response


def terminate_connections(context: ApiContext, request: SignedRequest, user_id: str) -> Response:
    """Close every connection of the user, on all nodes.

    The id of a member of a presence channel may contain any character.

    Raises:
        ApiError: With 400 if no user of the app can have this id.
    """
    limit = request.app.max_user_id
    if not user_id or (limit and len(user_id) > limit):
        raise ApiError(400, f"Invalid user id: it must have 1 to {limit} characters")
    return make_publish_response({}, all_nodes=context.hub.terminate(request.app, user_id))
