"""Accepts connections in portions, and counts the connections that the node cannot accept.

When the process has reached its limit of open files, Twisted closes each further connection, and
logs up to three lines for each connection. This module suppresses these lines of Twisted's log, and
reports each connection that Twisted closes to a :class:`Gate`, which counts the connection.
"""

from typing import Any, Protocol, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import ILogObserver, LogEvent, Logger


class Gate(Protocol):
    """Tells a listening port how many connections to accept, and counts refused connections."""

    def accept_limit(self) -> int:
        """Return the number of connections that a port may accept in one turn of the reactor."""

    def record_refusal(self, reason: str, peer: IAddress | None) -> None:
        """Count a connection that was closed before the node read its request.

        Args:
            reason: The reason for the close, one of :data:`reverb.meter.REFUSALS`.
            peer: The address of the connection's peer; None if unknown.
        """


class GatedEndpoint:
    """A server endpoint that accepts, in each turn, no more connections than a gate allows.

    Args:
        endpoint: The server endpoint that listens.
        gate: The gate of this node.
    """

    def __init__(self, endpoint: Any, gate: Gate) -> None:
        self._endpoint = endpoint
        self._gate = gate

    def listen(self, factory: Any) -> "Deferred[IListeningPort]":
        """Listen, and let the port ask the gate before it accepts connections."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(factory)
        return listening.addCallback(self._gate_port)

    def _gate_port(self, port: IListeningPort) -> IListeningPort:
        if isinstance(port, tcp.Port):  # A UNIX port is also a tcp.Port.
            accept, accept_limit = port.doRead, self._gate.accept_limit

            def accept_some() -> None:
                # Twisted adds 20 to numberAccepts whenever that many connections were waiting.
                port.numberAccepts = min(port.numberAccepts, accept_limit())
                accept()

            port.doRead = accept_some  # type: ignore[method-assign] # the reactor calls it
            port._logger = Logger(  # noqa: SLF001 - there is no public API
                namespace=tcp.Port.__module__, observer=cast(ILogObserver, self._report)
            )
        return port

    def _report(self, event: LogEvent) -> None:
        """Count a connection if a log event reports the refusal of one; ignore other events."""
        if "acceptError" in event:
            self._gate.record_refusal("accept_failed", None)
        elif "address" in event:
            self._gate.record_refusal("accept_failed", _make_address(event["address"]))


def _make_address(address: Any) -> IAddress | None:
    """Convert an address of ``socket.accept`` to Twisted's form; None if it is no IP address."""
    if not isinstance(address, tuple):
        return None
    kind = IPv4Address if len(address) == 2 else IPv6Address  # noqa: PLR2004 - host and port
    return kind("TCP", *address)
