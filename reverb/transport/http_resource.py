"""A twisted.web resource that passes requests to a handler."""

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as TwistedRequest

from reverb.http import Handler, Response
from reverb.transport.http_request import convert_request
from reverb.transport.http_response import reason_phrase


class HttpResource(Resource):
    """Passes all requests for its path, and for paths below it, to a handler.

    The handler receives the whole path, including the resource's own. To mount the HTTP API at
    ``/realtime``, set the path of the node's settings to ``/realtime`` as well::

        root.putChild(b"realtime", HttpResource(service.handle_request))

    The limits on requests are those of the twisted.web site. The node's metrics do not count the
    responses.

    Args:
        handle: Handles the requests.
    """

    isLeaf = True

    def __init__(self, handle: Handler) -> None:
        super().__init__()
        self._handle = handle

    def render(self, request: TwistedRequest) -> int:
        """Respond to a request, at once or when the handler's coroutine returns."""
        response = self._handle(convert_request(request))
        if isinstance(response, Response):
            _respond(request, response)
        else:
            _respond_later(request, Deferred.fromCoroutine(response))
        return NOT_DONE_YET


def _respond_later(request: TwistedRequest, pending: "Deferred[Response]") -> None:
    disconnected = False

    def disconnect(_: Failure) -> None:
        nonlocal disconnected
        disconnected = True

    def respond(response: Response) -> None:
        if not disconnected:
            _respond(request, response)

    request.notifyFinish().addErrback(disconnect)
    pending.addCallback(respond)


def _respond(request: TwistedRequest, response: Response) -> None:
    request.setResponseCode(response.status, reason_phrase(response.status).encode())
    for name, value in response.headers:
        request.responseHeaders.addRawHeader(name, value)
    request.write(response.body)
    request.finish()
