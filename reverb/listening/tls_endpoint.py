"""TLS on top of another endpoint; a client that speaks plain HTTP gets an error response."""

import json
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.web.http import datetimeToString

from reverb.listening.accepting import Gate
from reverb.listening.certificates import ReloadingCertificates
from reverb.listening.first_bytes import (
    PLAIN_ON_TLS_PORT,
    WrongProtocol,
    find_wrong_protocol_on_tls_port,
)


class TlsProtocol(BufferingTLSTransport):
    """The TLS of one connection, which checks that the client's first bytes are TLS."""

    factory: "TlsFactory"
    transport: Any  # Twisted's annotation allows None, and lacks some of the methods used here.
    _has_begun = False
    _is_refused = False

    def makeConnection(self, transport: Any) -> None:
        """Begin TLS, with the certificate for the address to which the client has connected."""
        self.transport = transport  # The certificates read it, before Twisted sets it.
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Pass received bytes to TLS; discard the bytes of a client that has been refused."""
        if not self._has_begun:
            self._has_begun = True
            wrong = find_wrong_protocol_on_tls_port(data)
            if wrong is not None:
                self._refuse(wrong)
        if not self._is_refused:
            super().dataReceived(data)

    def _refuse(self, wrong: WrongProtocol) -> None:
        self._is_refused = True
        self.factory.record_refusal(wrong.reason, self.transport.getPeer())
        if wrong is not PLAIN_ON_TLS_PORT:
            self.transport.loseConnection()
            return
        self.transport.write(_encode_bad_request(wrong.message))
        # Closing both directions while the client is sending would reset the connection, and the
        # client would not receive the response. A client that does not close is timed out by the
        # wrapped protocol.
        self.transport.loseWriteConnection()


def _encode_bad_request(message: str) -> bytes:
    """Encode an HTTP response in the form of the API's errors."""
    body = json.dumps({"error": message}).encode()
    head = (
        b"HTTP/1.1 400 Bad Request\r\nServer: reverb\r\nDate: %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    return head % (datetimeToString(time.time()), len(body)) + body


class TlsFactory(TLSMemoryBIOFactory):
    """Makes a :class:`TlsProtocol` around each protocol of another factory.

    Args:
        certificates: Starts TLS with each client.
        factory: Makes the wrapped protocols.
        gate: Counts the clients that do not speak TLS; None to count none.
    """

    protocol = TlsProtocol

    def __init__(
        self, certificates: ReloadingCertificates, factory: Any, gate: Gate | None
    ) -> None:
        super().__init__(certificates, isClient=False, wrappedFactory=factory)
        self._gate = gate

    def record_refusal(self, reason: str, peer: Any) -> None:
        """Count a client that does not speak TLS."""
        if self._gate is not None:
            self._gate.record_refusal(reason, peer)


class TlsEndpoint:
    """A server endpoint whose clients speak TLS.

    Args:
        endpoint: The server endpoint to which the clients connect.
        certificates: Starts TLS with each client.
        gate: Counts the clients that do not speak TLS; None to count none.
    """

    def __init__(
        self, endpoint: Any, certificates: ReloadingCertificates, gate: Gate | None
    ) -> None:
        self._endpoint = endpoint
        self._certificates = certificates
        self._gate = gate

    def listen(self, factory: Any) -> "Deferred[IListeningPort]":
        """Listen, and wrap each protocol of the factory in a :class:`TlsProtocol`."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(
            TlsFactory(self._certificates, factory, self._gate)
        )
        return listening
