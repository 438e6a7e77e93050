"""Users: ``POST /users/{id}/terminate_connections``.

Source: Pusher's documentation, "HTTP API: Terminating user connections".
"""

from reverb.api.authentication import SignedRequest
from reverb.api.context import ApiContext
from reverb.api.responses import ApiError, make_publish_response
from reverb.http import Response
from reverb.protocol.names import user_id_problem


def terminate_connections(context: ApiContext, request: SignedRequest, user_id: str) -> Response:
    """Close every connection, on all nodes, on which the user is signed in."""
    problem = user_id_problem(user_id, request.app.max_user_id)
    if problem:
        raise ApiError(400, problem)
    return make_publish_response({}, all_nodes=context.hub.terminate(request.app, user_id))
