"""A twisted.web resource that passes requests to a handler."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as TwistedRequest

from reverb.http import Handler, Request, Response, make_request
from reverb.transport.http_body import apply_answer
from reverb.transport.http_head import HeadError, parse_head
from reverb.transport.http_response import make_error, reason_phrase


class HttpResource(Resource):
    """Passes all requests for the resource's path, and for paths below that path, to a handler.

    The handler receives the whole path of a request, including the resource's path. To mount the
    HTTP API at ``/realtime``, set ``Settings.path`` to ``/realtime`` as well::

        root.putChild(b"realtime", HttpResource(service.handle_request))

    The limits of the twisted.web site apply, not those of the node's settings. The site reads the
    whole body of a request before the handler can check the signature. The node's metrics do not
    count the responses of this resource.

    Args:
        handle: Handles the requests.
    """

    isLeaf = True

    def __init__(self, handle: Handler) -> None:
        super().__init__()
        self._handle = handle

    def render(self, request: TwistedRequest) -> int:
        """Respond to a request, at once or when the handler's coroutine returns."""
        content: Any = request.content
        body = content.read()
        try:
            head = _make_request(request, has_body=bool(body))
        except HeadError as error:
            _respond(request, make_error(error.status, error.message))
            return NOT_DONE_YET
        outcome = apply_answer(self._handle(head), body)
        if isinstance(outcome, Response):
            _respond(request, outcome)
        else:
            _respond_later(request, Deferred.fromCoroutine(outcome))
        return NOT_DONE_YET


def _make_request(request: TwistedRequest, *, has_body: bool) -> Request:
    """Convert a complete request of twisted.web into the request that is passed to the handler.

    Raises:
        HeadError: twisted.web accepts the head, but RFC 9112 does not.
    """
    lines = [
        b"%b: %b" % (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    method, target, version = request.method, request.uri, request.clientproto
    if version in (b"HTTP/1.0", b"HTTP/1.1"):
        target = parse_head([b"%b %b %b" % (method, target, version), *lines]).target
    headers = b"".join([line + b"\r\n" for line in lines])
    return make_request(method, target, headers, has_body=has_body)


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
