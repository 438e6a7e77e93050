"""The HTTP side of the door: twisted.web with limits, and errors as JSON."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from twisted.protocols.basic import LineReceiver
from twisted.web import http
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from reverb.transport.outbox import DirectOutbox, is_plain_tcp

_PHRASES = {
    **http.RESPONSES,
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
}

_LINGER = 5
"""Seconds that a refused client has to take the answer while it is still sending."""


def raw_error(status: int, sentence: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Make a whole HTTP response that refuses a request and ends the connection.

    For requests that are refused before they are complete.

    Args:
        status: The HTTP status.
        sentence: What is wrong, for the client's developer.
        headers: More headers.
    """
    body = msgspec.json.encode({"error": sentence})
    phrase = _PHRASES.get(status, b"Error").decode()
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class ApiRequest(Request):
    """A request whose body may not be larger than the node allows."""

    channel: "ApiChannel"

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Know the phrases that twisted.web lacks."""
        super().setResponseCode(code, message or _PHRASES.get(code))

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
        return not (self.requests or self._buffer or self.refused)

    def connectionMade(self) -> None:
        """Take the short way for answers where there is one."""
        super().connectionMade()
        self._parts: list[bytes] = []
        self._send = (
            DirectOutbox(self.transport, 0, lambda: None).send
            if is_plain_tcp(self.transport)
            else self.transport.write
        )

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Keep the head until the answer is complete."""
        self._parts.append(b"%b %b %b\r\n" % (version, code, reason))
        for name, values in headers.getAllRawHeaders():
            self._parts += [b"%b: %b\r\n" % (name, value) for value in values]
        self._parts.append(b"\r\n")

    def write(self, data: bytes) -> None:
        """Keep a piece of the answer; all answers are small and soon complete."""
        self._parts.append(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Keep pieces of the answer."""
        self._parts += iovec

    def requestDone(self, request: Request) -> None:
        """Send the answer, and read the next request."""
        parts, self._parts = self._parts, []
        self._send(b"".join(parts))
        super().requestDone(request)

    def refuse(self, status: int, sentence: str) -> None:
        """Answer a request that is not complete, and end the connection."""
        if self.refused:
            return
        self.refused = True
        self.transport.write(raw_error(status, sentence))
        self.transport.unregisterProducer()
        if is_plain_tcp(self.transport):
            # Closing both ways while the client is sending would reset the
            # connection, and the answer would be lost with it.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()
        self.setTimeout(_LINGER)

    def dataReceived(self, data: bytes) -> None:
        """Read requests; one must be complete in time, however its bytes trickle."""
        if self.refused:
            return
        if not self.requests:
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)

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
        elif self.requests:
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
    """

    requestFactory = ApiRequest

    def __init__(
        self,
        resource: Any,
        *,
        reactor: Any,
        timeout: int,
        max_request_bytes: int,
        max_request_head_bytes: int,
    ) -> None:
        super().__init__(resource, timeout=timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self._timeout = timeout
        self._max_request_bytes = max_request_bytes
        self._max_request_head_bytes = max_request_head_bytes

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

    def log(self, request: http.Request) -> None:
        """Write no access log: one line for each publication would cost more than it tells."""
