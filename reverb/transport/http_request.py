"""Requests that twisted.web has parsed."""

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.web import http

from reverb.http import Request, Response, make_request


def convert_request(parsed: http.Request) -> Request:
    """Convert a complete request of twisted.web to a :class:`reverb.http.Request`."""
    content: Any = parsed.content
    headers = b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, values in parsed.requestHeaders.getAllRawHeaders()
        for value in values
    )
    return make_request(parsed.method, parsed.uri, headers, content.read())


class ParsedRequest(http.Request):
    """A request on an :class:`HttpChannel`, with a limit on the size of its body."""

    channel: Any  # An HttpChannel; None when the client has disconnected.

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Handle a complete request. Parse neither the query nor a form in the body."""
        cast(Any, self.content).seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        response = self.channel.handle(convert_request(self))
        if isinstance(response, Response):
            self._respond(response)
        else:
            Deferred.fromCoroutine(response).addCallback(self._respond)

    def _respond(self, response: Response) -> None:
        if self.channel is None:
            return
        self.startedWriting = 1
        self.channel.send(
            response,
            version=self.clientproto.removeprefix(b"HTTP/").decode("latin-1"),
            close=not self.channel.persistent,
            has_body=self.method != b"HEAD",
        )
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
        max_bytes = self.channel.limits.max_request_bytes
        if max_bytes and length > max_bytes:
            self.channel.refuse(
                413, f"The request's body exceeds the allowed maximum ({max_bytes} bytes)"
            )
        return not self.channel.refused
