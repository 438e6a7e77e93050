"""HTTP connections: twisted.web with limits, a fast path, and errors as JSON."""

import time
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from twisted.protocols.basic import LineReceiver
from twisted.web import http
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from reverb.memoize import memoize_short_keys
from reverb.meter import Meter
from reverb.transport.fast_request import FastRequestHead, parse_fast_request
from reverb.transport.outbox import is_plain_tcp, send_now

_PHRASES = {
    **{status: phrase.decode() for status, phrase in http.RESPONSES.items()},
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
}

_LINGER_TIMEOUT = 5
"""Seconds from an error response to an incomplete request until the server aborts the connection,
if the client has not closed it. They let a client that is still sending read the response."""


def encode_response(
    status: int, headers: Iterable[tuple[str, str]], body: bytes = b"", version: str = "1.1"
) -> bytes:
    """Encode a complete HTTP response.

    Args:
        status: The HTTP status.
        headers: All headers except ``Server`` and ``Date``, which every response has.
        body: The body; empty for none.
        version: The client's version of HTTP, such as ``1.1``.
    """
    lines = [
        f"HTTP/{version} {status} {_PHRASES.get(status, 'Error')}",
        *_common_headers(int(time.time())),
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1") + body


@lru_cache(maxsize=1)
def _common_headers(second: int) -> tuple[str, str]:
    """Return the headers common to all responses.

    ``Date`` changes once a second, so the result is cached for that second.
    """
    return "Server: reverb", f"Date: {http.datetimeToString(second).decode()}"


def encode_error(status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Encode a complete HTTP response with a JSON error and ``Connection: close``.

    Args:
        status: The HTTP status.
        message: What is wrong, for the developer of the client.
        headers: Additional headers.
    """
    body = msgspec.json.encode({"error": message})
    length = ("Content-Length", str(len(body)))
    error_headers = (("Content-Type", "application/json"), length, ("Connection", "close"))
    return encode_response(status, [*error_headers, *headers], body)


class ApiRequest(Request):
    """A request for a resource, with a limit on the size of its body."""

    channel: "ApiChannel"

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process a complete request, without parsing the query and the forms in the body.

        Resources parse the query from the URI if they need it.
        """
        assert self.content is not None
        self.content.seek(0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Let the resource at the path respond."""
        self.channel.site.find(self.path).render(self)

    def respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Send the complete response, and finish the request.

        Args:
            status: The HTTP status.
            headers: The headers that are specific to this response.
            body: The body. It is not sent in response to HEAD.
        """
        connection = () if self.channel.persistent else (("Connection", "close"),)
        version = self.clientproto.removeprefix(b"HTTP/").decode("latin-1")
        if self.method == b"HEAD":
            body = b""
        self.startedWriting = 1
        self.channel.site.count_response(status)
        self.channel.send(encode_response(status, [*headers, *connection], body, version))
        self.finish()

    def gotLength(self, length: int | None) -> None:
        """Refuse a body whose Content-Length is too large, before the body is read."""
        self._check_length(length or 0)
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Read a part of the body. Refuse a chunked body as soon as it is too large."""
        if self.content is not None and self._check_length(self.content.tell() + len(data)):
            super().handleContentChunk(data)

    def _check_length(self, length: int) -> bool:
        max_bytes = self.channel.max_request_bytes
        if max_bytes and length > max_bytes:
            self.channel.refuse(
                413, f"The request's body exceeds the allowed maximum ({max_bytes} bytes)"
            )
        return not self.channel.refused


class FastRequest(ApiRequest):
    """A request that the fast path has parsed, without twisted.web.

    Args:
        channel: The connection of the request.
        head: The head of the request.
        body: The complete body of the request.
    """

    def __init__(self, channel: "ApiChannel", head: FastRequestHead, body: bytes) -> None:
        # super().__init__ is not called: it sets up cookies, sessions and forms, which no resource
        # uses.
        self.channel = channel
        self.notifications = []
        self.queued = False
        self.method, self.uri, self.clientproto = head.method, head.uri, b"HTTP/1.1"
        self.path = head.uri.partition(b"?")[0]
        self.args = {}
        self.content = BytesIO(body)
        self._header_lines = head.headers

    @cached_property
    def requestHeaders(self) -> Headers:  # type: ignore[override] # an attribute in twisted.web
        """The headers, parsed on first access."""
        headers = Headers()
        for line in self._header_lines.splitlines():
            name, _, value = line.partition(b":")
            headers.addRawHeader(name, value.strip())
        return headers

    def finish(self) -> None:
        """Finish the request.

        The channel lists the request in ``requests`` only if the response was not sent at once.
        """
        if self in self.channel.requests:
            super().finish()
        else:
            self.finished = 1


class _PartialRequest:
    """A request of the fast path whose body is not complete yet."""

    def __init__(self, head: FastRequestHead, data: bytes) -> None:
        self.head = head
        self._segments = [data]
        self._length = len(data)

    @property
    def complete(self) -> bool:
        return self._length >= self.head.body_end

    def add(self, data: bytes) -> None:
        self._segments.append(data)
        self._length += len(data)

    def data(self) -> bytes:
        return b"".join(self._segments)


class ApiChannel(http.HTTPChannel):
    """One HTTP connection.

    Attributes:
        refused: Whether a request has been refused before it was complete. The channel then reads
            and discards further bytes, so that the client receives the error response.
        max_request_bytes: The maximum size of a request's body in bytes; 0 for no limit.
    """

    factory: "ApiSite"
    site: "ApiSite"
    timeOut: int | None
    callLater: Callable[..., Any]
    transport: Any  # Twisted's annotation allows None, and lacks some of the methods used here.
    max_request_bytes = 0
    refused = False

    @property
    def idle(self) -> bool:
        """Whether the next byte begins a new request."""
        return not (self.requests or self._buffer or self._partial or self.refused)

    def connectionMade(self) -> None:
        """Prepare to read the first request of the connection."""
        super().connectionMade()
        self._partial: _PartialRequest | None = None
        self._is_plain_tcp = is_plain_tcp(self.transport)

    def send(self, data: bytes) -> None:
        """Send a complete response."""
        if self._is_plain_tcp:
            send_now(self.transport, data)
        else:
            self.transport.write(data)

    def refuse(self, status: int, message: str) -> None:
        """Send an error response to an incomplete request, and close the connection.

        Does nothing if a request has been refused already.
        """
        if self.refused:
            return
        self.refused = True
        self.site.count_response(status)
        self.transport.write(encode_error(status, message))
        self.transport.unregisterProducer()
        if is_plain_tcp(self.transport):
            # Closing both directions while the client is sending would reset the connection, and
            # the client would not receive the response.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self.setTimeout(_LINGER_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Read requests.

        Only the first bytes of a request reset the timeout, so a slow sender cannot extend it.
        """
        if self.refused:
            return
        if self.idle:
            self.resetTimeout()
        partial = self._partial
        if partial is not None:
            partial.add(data)
            if not partial.complete:
                return
            self._partial = None
            self._read_request(partial.head, partial.data())
        elif self.requests or self._buffer:
            LineReceiver.dataReceived(self, data)
        else:
            self._read_request(parse_fast_request(data), data)

    def _read_request(self, head: FastRequestHead | None, data: bytes) -> None:
        """Read a request from its beginning.

        twisted.web reads it if the fast path cannot (``head`` is None), if other requests follow
        in the same data (pipelining), or if the body is too large.
        """
        max_bytes = self.max_request_bytes
        if (
            head is None
            or len(data) > head.body_end
            or (max_bytes and head.body_end - head.body_start > max_bytes)
        ):
            LineReceiver.dataReceived(self, data)
        elif len(data) < head.body_end:
            self._partial = _PartialRequest(head, data)
        else:
            request = FastRequest(self, head, data[head.body_start :])
            request.process()
            if not request.finished:
                self._await_response(request)

    def _await_response(self, request: FastRequest) -> None:
        """Set the state that twisted.web sets while the response to a request is pending."""
        self.requests.append(request)
        self._handlingRequest = True
        self._savedTimeOut = self.setTimeout(None)
        self.setRawMode()

    def lineReceived(self, line: bytes) -> None:
        """Read a line of the head, unless the request has been refused."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Read a part of the body, unless the request has been refused."""
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Process a complete request, unless it has been refused."""
        if not self.refused:
            super().allContentReceived()

    def timeoutConnection(self) -> None:
        """Close a connection that was idle, or whose client took too long to send a request.

        Abort it if a request has been refused and the client has not closed it since.
        """
        if self.refused:
            self.transport.abortConnection()
        elif self.requests or self._partial:
            self.refuse(408, f"No complete request within {self.timeOut} seconds")
        else:
            self.loseConnection()
            self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # twisted.web's own response has neither a body nor a length.
        self.refuse(400, "Bad request: not a well-formed HTTP/1.1 request")


class ApiSite(Site):
    """Serves a tree of resources, such as the HTTP API's.

    Args:
        resource: The root of the tree.
        reactor: The reactor, or a test's clock.
        timeout: Seconds that a connection may be idle, or take to send a request.
        max_request_bytes: The maximum size of a request's body in bytes; 0 for no limit.
        max_request_head_bytes: The maximum size of a request's head in bytes.
        meter: The meter of the node; None to measure nothing.
    """

    requestFactory = ApiRequest
    find: Callable[[bytes], IResource]
    """Returns the resource at a path. The resources of short paths are cached."""

    def __init__(
        self,
        resource: Any,
        *,
        reactor: Any,
        timeout: int,
        max_request_bytes: int,
        max_request_head_bytes: int,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(resource, timeout=timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self.find = memoize_short_keys(self._find, max_entries=1024, max_length=200)
        self._timeout = timeout
        self._max_request_bytes = max_request_bytes
        self._max_request_head_bytes = max_request_head_bytes
        self._meter = meter

    def buildProtocol(self, addr: object) -> Any:
        """Make a channel for a connection without a multiplexer, such as one for metrics."""
        return self.make_channel()

    def make_channel(self) -> ApiChannel:
        """Make a channel for one connection."""
        channel = ApiChannel()
        channel.factory = self
        channel.site = self
        channel.requestFactory = self.requestFactory
        channel.timeOut = self._timeout
        channel.callLater = self.reactor.callLater
        channel.max_request_bytes = self._max_request_bytes
        channel.totalHeadersSize = channel.MAX_LENGTH = self._max_request_head_bytes
        return channel

    def count_response(self, status: int) -> None:
        """Count a response by its HTTP status, if there is a meter."""
        if self._meter is not None:
            self._meter.responses[status] += 1

    def _find(self, path: bytes) -> IResource:
        """Return the resource at a path. It may be cached: resources keep no state of requests."""
        resource: IResource = self.resource
        for segment in path[1:].split(b"/"):
            if resource.isLeaf:
                break
            resource = resource.getChildWithDefault(unquote_to_bytes(segment), None)
        return resource

    def log(self, request: http.Request) -> None:
        """Write no access log: a line for each publication costs more than it is worth."""
