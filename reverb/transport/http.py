"""The HTTP side of the door: twisted.web with limits, and errors as JSON."""

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

from reverb.caches import cache_short_keys
from reverb.meter import Meter
from reverb.transport.fast_request import FastRequestHead, parse_fast_request
from reverb.transport.outbox import is_plain_tcp, send_now

_PHRASES = {
    **{status: phrase.decode() for status, phrase in http.RESPONSES.items()},
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
}

_LINGER_TIMEOUT = 5
"""Seconds that a refused client has to take the answer while it is still sending."""


def response(
    status: int, headers: Iterable[tuple[str, str]], body: bytes = b"", version: str = "1.1"
) -> bytes:
    """Make the bytes of a whole HTTP response.

    Args:
        status: The HTTP status.
        headers: Beside those of every response.
        body: Empty for none.
        version: Of HTTP, the client's.
    """
    lines = [
        f"HTTP/{version} {status} {_PHRASES.get(status, 'Error')}",
        *_headers(int(time.time())),
    ]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1") + body


@lru_cache(maxsize=1)
def _headers(second: int) -> tuple[str, str]:
    """Make the headers of every response, once in a second."""
    return "Server: reverb", f"Date: {http.datetimeToString(second).decode()}"


def raw_error(status: int, sentence: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Make a whole HTTP response that refuses a request and ends the connection.

    For requests that are refused before they are complete.

    Args:
        status: The HTTP status.
        sentence: What is wrong, for the client's developer.
        headers: More headers.
    """
    body = msgspec.json.encode({"error": sentence})
    length = ("Content-Length", str(len(body)))
    always = (("Content-Type", "application/json"), length, ("Connection", "close"))
    return response(status, [*always, *headers], body)


class ApiRequest(Request):
    """A request whose body may not be larger than the node allows."""

    channel: "ApiChannel"

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Obey, without parsing the query: who needs it reads it from the URI.

        twisted.web would also look for forms in the body.
        """
        assert self.content is not None
        self.content.seek(0)
        self.args = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Have the resource at the path answer."""
        self.channel.site.find(self.path).render(self)

    def respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Send the whole answer, and finish.

        Args:
            status: The HTTP status.
            headers: Those of the answer.
            body: Not sent where HTTP has none, as in the answer to HEAD.
        """
        more = () if self.channel.persistent else (("Connection", "close"),)
        version = self.clientproto.removeprefix(b"HTTP/").decode("latin-1")
        if self.method == b"HEAD":
            body = b""
        self.startedWriting = 1
        self.channel.site.count(status)
        self.channel.send(response(status, [*headers, *more], body, version))
        self.finish()

    def gotLength(self, length: int | None) -> None:
        """Refuse a body by its announced length, before it is read."""
        self._check(length or 0)
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Refuse a chunked body when it has grown too large."""
        if self.content is not None and self._check(self.content.tell() + len(data)):
            super().handleContentChunk(data)

    def _check(self, length: int) -> bool:
        most = self.channel.max_request_bytes
        if most and length > most:
            self.channel.refuse(
                413, f"The request's body exceeds the allowed maximum ({most} bytes)"
            )
        return not self.channel.refused


class FastRequest(ApiRequest):
    """A request that twisted.web has not seen: it came whole, and plain.

    Args:
        channel: The connection.
        head: Its head.
        body: Its body.
    """

    def __init__(self, channel: "ApiChannel", head: FastRequestHead, body: bytes) -> None:
        # Not super().__init__: it prepares for cookies, sessions and forms.
        self.channel = channel
        self.notifications = []
        self.queued = False
        self.method, self.uri, self.clientproto = head.method, head.uri, b"HTTP/1.1"
        self.path = head.uri.partition(b"?")[0]
        self.args = {}
        self.content = BytesIO(body)
        self._header_lines = head.headers

    @cached_property
    def requestHeaders(self) -> Headers:  # type: ignore[override] # an attribute, like this
        """The headers, for who wants to see them."""
        headers = Headers()
        for line in self._header_lines.splitlines():
            name, _, value = line.partition(b":")
            headers.addRawHeader(name, value.strip())
        return headers

    def finish(self) -> None:
        """Be done, at once or after the channel has waited."""
        if self in self.channel.requests:
            super().finish()
        else:
            self.finished = 1


class _PartialRequest:
    """A plain request whose body is still coming, in whatever pieces."""

    def __init__(self, head: FastRequestHead, data: bytes) -> None:
        self.head = head
        self._pieces = [data]
        self._length = len(data)

    @property
    def complete(self) -> bool:
        return self._length >= self.head.body_ends

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._length += len(data)

    def data(self) -> bytes:
        return b"".join(self._pieces)


class ApiChannel(http.HTTPChannel):
    """One HTTP connection.

    Attributes:
        refused: Whether a request has been refused before it was complete;
            what still comes in is read and thrown away, so that the client
            gets to see the answer.
    """

    factory: "ApiSite"
    site: "ApiSite"
    timeOut: int | None
    callLater: Callable[..., Any]
    transport: Any  # Twisted's annotation admits None and knows only half of it
    max_request_bytes = 0
    refused = False

    @property
    def idle(self) -> bool:
        """Whether the next byte begins a new request."""
        return not (self.requests or self._buffer or self._partial or self.refused)

    def connectionMade(self) -> None:
        """Take the short way for answers where there is one."""
        super().connectionMade()
        self._partial: _PartialRequest | None = None
        self._is_plain_tcp = is_plain_tcp(self.transport)

    def send(self, data: bytes) -> None:
        """Send a whole answer."""
        if self._is_plain_tcp:
            send_now(self.transport, data)
        else:
            self.transport.write(data)

    def refuse(self, status: int, sentence: str) -> None:
        """Answer a request that is not complete, and end the connection."""
        if self.refused:
            return
        self.refused = True
        self.site.count(status)
        self.transport.write(raw_error(status, sentence))
        self.transport.unregisterProducer()
        if is_plain_tcp(self.transport):
            # Closing both ways while the client is sending would reset the
            # connection, and the answer would be lost with it.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self.setTimeout(_LINGER_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Read requests; one must be complete in time, however its bytes trickle."""
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
            self._read(partial.head, partial.data())
        elif self.requests or self._buffer:
            LineReceiver.dataReceived(self, data)
        else:
            self._read(parse_fast_request(data), data)

    def _read(self, head: FastRequestHead | None, data: bytes) -> None:
        """Read a request from its beginning: by ourselves if it is plain, and the only one."""
        most = self.max_request_bytes
        if (
            head is None
            or len(data) > head.body_ends
            or (most and head.body_ends - head.body_begins > most)
        ):
            LineReceiver.dataReceived(self, data)
        elif len(data) < head.body_ends:
            self._partial = _PartialRequest(head, data)
        else:
            request = FastRequest(self, head, data[head.body_begins :])
            request.process()
            if not request.finished:
                self._wait_for(request)

    def _wait_for(self, request: FastRequest) -> None:
        """Do as twisted.web does when it has obeyed a request that is not answered yet."""
        self.requests.append(request)
        self._handlingRequest = True
        self._savedTimeOut = self.setTimeout(None)
        self.setRawMode()

    def lineReceived(self, line: bytes) -> None:
        """Read the head, unless the request has been refused."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Read the body, unless the request has been refused."""
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Obey a complete request, unless it has been refused."""
        if not self.refused:
            super().allContentReceived()

    def timeoutConnection(self) -> None:
        """End a connection that was idle, or took too long to send a request."""
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
        # twisted.web's own answer has no body, and no length.
        self.refuse(400, "Bad request: not a well-formed HTTP/1.1 request")


class ApiSite(Site):
    """Serves the API's resources.

    Args:
        resource: The root of the tree.
        reactor: The reactor, or a test's clock.
        timeout: Seconds that a connection may be idle, or take to send a request.
        max_request_bytes: Bytes of one body, 0 for any number.
        max_request_head_bytes: Bytes of one request's head.
        meter: That of the node; None to measure nothing.
    """

    requestFactory = ApiRequest
    find: Callable[[bytes], IResource]
    """Finds the resource at a path."""

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
        self.find = cache_short_keys(self._find, max_entries=1024, max_length=200)
        self._timeout = timeout
        self._max_request_bytes = max_request_bytes
        self._max_request_head_bytes = max_request_head_bytes
        self._meter = meter

    def buildProtocol(self, addr: object) -> Any:
        """Make a channel for a connection that has come here, not through the front door."""
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

    def count(self, status: int) -> None:
        """Take note of a response."""
        if self._meter is not None:
            self._meter.responses[status] += 1

    def _find(self, path: bytes) -> IResource:
        """Walk down the tree of resources, which keep no state and need no request for it."""
        resource: IResource = self.resource
        for segment in path[1:].split(b"/"):
            if resource.isLeaf:
                break
            resource = resource.getChildWithDefault(unquote_to_bytes(segment), None)
        return resource

    def log(self, request: http.Request) -> None:
        """Write no access log: one line for each publication would cost more than it tells."""
