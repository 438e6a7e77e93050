"""A request that twisted.web reads on an HTTP channel."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web import http

from reverb.http import Response
from reverb.transport.http_body import BodyReceiver, Outcome
from reverb.transport.http_head import RequestHead


class FramedRequest(http.Request):
    """A request whose body twisted.web reads.

    The :class:`reverb.transport.http.HttpChannel` itself has parsed the head of the request.
    twisted.web decodes the body, and keeps the requests of a connection in order.
    """

    channel: Any  # An HttpChannel; None when the client has disconnected.
    _head: RequestHead
    _receiver: BodyReceiver

    def parseCookies(self) -> None:
        """Do nothing: no handler reads cookies."""

    def gotLength(self, length: int | None) -> None:
        """Make the receiver of the body; pass the head to the handler if the body is incomplete."""
        channel = self.channel
        self._head = head = channel.head
        self._receiver = channel.receive_body(head.make_request(), length, self._respond)
        if not channel.has_received(length):
            self._receiver.start(expects_continue=head.expects_continue)

    def handleContentChunk(self, data: bytes) -> None:
        """Receive a part of the body."""
        self._receiver.add(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Pass the complete body to the handler, and respond to the request."""
        self._receiver.finish()

    def _respond(self, outcome: Outcome) -> None:
        if isinstance(outcome, Response):
            self._send(outcome)
        else:
            Deferred.fromCoroutine(outcome).addCallback(self._send)

    def _send(self, response: Response) -> None:
        if self.channel is None:
            return
        self.startedWriting = 1
        self.channel.send(
            response,
            version=self._head.version.decode(),
            close=not self.channel.persistent,
            has_body=self._head.method != b"HEAD",
        )
        self.finish()
