"""The PROXY protocol of ``haproxy:`` endpoints, read with Twisted's parsers.

Without this module, Twisted refuses a header that arrives in small segments, and the header
``PROXY UNKNOWN``. For some malformed headers, Twisted logs a traceback. This module accepts headers
in small segments and ``PROXY UNKNOWN``. If a header is malformed, this module closes the connection
without a traceback.

Source: the specification "The PROXY protocol, versions 1 and 2" by HAProxy Technologies.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import WrappingFactory

from reverb.listening.accepting import Gate

_VERSION_1 = b"PROXY "
_UNKNOWN = b"PROXY UNKNOWN\r\n"
_UNKNOWN_FOR_TWISTED = b"PROXY UNKNOWN \r\n"
_VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_DECISIVE = 16
"""The number of bytes of a header from which Twisted always recognizes the header's version."""


def is_proxy_protocol(transport: object) -> bool:
    """Return whether a transport belongs to a connection with the PROXY protocol."""
    return isinstance(transport, HAProxyProtocolWrapper)


class ProxyProtocol(HAProxyProtocolWrapper):
    """Reads a connection's PROXY header, and passes the bytes after it to the wrapped protocol."""

    factory: "ProxyProtocolFactory"
    _start = b""

    def dataReceived(self, data: bytes) -> None:
        """Read the PROXY header, and pass all later bytes to the wrapped protocol.

        A malformed header closes the connection.
        """
        if self._proxyInfo is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        data = self._start + data
        self._start = b""
        if self._parser is None and _is_undecided(data):
            self._start = data
            return
        if data.startswith(_UNKNOWN):
            data = _UNKNOWN_FOR_TWISTED + data[len(_UNKNOWN) :]
        try:
            super().dataReceived(data)
        except ValueError:
            if self._proxyInfo is not None:  # The wrapped protocol raised it.
                raise
            self.loseConnection()
        if self._proxyInfo is None and self.disconnecting:
            self.factory.record_refusal("proxy_header", self.getPeer())


def _is_undecided(data: bytes) -> bool:
    """Return whether a connection's first bytes are too few to recognize a PROXY header."""
    if len(data) >= _DECISIVE:
        return False
    if data.startswith(_VERSION_1):
        return b"\r\n" not in data
    return _VERSION_1.startswith(data) or _VERSION_2.startswith(data[: len(_VERSION_2)])


class ProxyProtocolFactory(WrappingFactory[ProxyProtocol]):
    """Makes a :class:`ProxyProtocol` around each protocol of another factory.

    Args:
        factory: Makes the wrapped protocols.
        gate: Counts the connections with a malformed PROXY header; None to count none.
    """

    protocol = ProxyProtocol
    noisy = False

    def __init__(self, factory: Any, gate: Gate | None) -> None:
        super().__init__(factory)
        self._gate = gate

    def record_refusal(self, reason: str, peer: IAddress) -> None:
        """Count a connection with a malformed PROXY header."""
        if self._gate is not None:
            self._gate.record_refusal(reason, peer)


class ProxyProtocolEndpoint:
    """A server endpoint whose clients are proxies that speak the PROXY protocol.

    Args:
        endpoint: The server endpoint to which the proxies connect.
        gate: Counts the connections with a malformed PROXY header; None to count none.
    """

    def __init__(self, endpoint: Any, gate: Gate | None) -> None:
        self._endpoint = endpoint
        self._gate = gate

    def listen(self, factory: Any) -> "Deferred[IListeningPort]":
        """Listen, and wrap each protocol of the factory in a :class:`ProxyProtocol`."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(
            ProxyProtocolFactory(factory, self._gate)
        )
        return listening
