"""Users: ``POST /users/{id}/terminate_connections``.

Source: Pusher's documentation, "HTTP API: Terminating user connections". Members
of presence channels are users too, as in Laravel Reverb, which has no sign-in.
"""

from reverb.api.authentication import SignedRequest
from reverb.api.context import ApiContext
from reverb.api.responses import ApiError, make_publish_response
from reverb.http import Response
from reverb.protocol.names import MAX_USER_ID


def terminate_connections(context: ApiContext, request: SignedRequest, user_id: str) -> Response:
    """Close every connection of the user, on all nodes.

    The id of a member of a presence channel may contain any character.

    Raises:
        ApiError: With 400 if no user can have this id.
    """
    if not 0 < len(user_id) <= MAX_USER_ID:
        raise ApiError(400, f"Invalid user id: it must have 1 to {MAX_USER_ID} characters")
    return make_publish_response({}, all_nodes=context.hub.terminate(request.app, user_id))
