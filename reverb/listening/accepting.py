"""Accepts connections in bounded portions, and reports those that cannot be accepted.

At the limit of open files, Twisted accepts each further connection by means of a descriptor that it
keeps in reserve, closes it, and logs up to three lines. Here each of these connections is reported
instead, to an object that counts it.
"""

from typing import Any, Protocol, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import ILogObserver, LogEvent, Logger


class Gate(Protocol):
    """What a listening port asks, and tells, about the connections of a node."""

    def accept_limit(self) -> int:
        """Return the number of connections that a port may accept in one turn of the reactor."""

    def record_refusal(self, reason: str, peer: IAddress | None) -> None:
        """Count a connection that has been closed before its request was read.

        Args:
            reason: The reason, one of :data:`reverb.meter.REFUSALS`.
            peer: The peer of the connection; None if it is unknown.
        """


class GatedEndpoint:
    """A server endpoint whose port accepts as many connections as a gate allows.

    Args:
        endpoint: The endpoint.
        gate: The gate of the node.
    """

    def __init__(self, endpoint: Any, gate: Gate) -> None:
        self._endpoint = endpoint
        self._gate = gate

    def listen(self, factory: Any) -> "Deferred[IListeningPort]":
        """Listen, and put the gate before the port."""
        listening: Deferred[IListeningPort] = self._endpoint.listen(factory)
        return listening.addCallback(self._gate_port)

    def _gate_port(self, port: IListeningPort) -> IListeningPort:
        if isinstance(port, tcp.Port):  # UNIX ports are such ports, too.
            accept, accept_limit = port.doRead, self._gate.accept_limit

            def accept_some() -> None:
                # Twisted raises the number by 20 each time that so many connections were waiting.
                port.numberAccepts = min(port.numberAccepts, accept_limit())
                accept()

            port.doRead = accept_some  # type: ignore[method-assign] # the reactor calls it
            port._logger = Logger(  # noqa: SLF001 - there is no public API
                namespace=tcp.Port.__module__, observer=cast(ILogObserver, self._report)
            )
        return port

    def _report(self, event: LogEvent) -> None:
        """Report one connection for the event that says that it was closed, or not accepted."""
        if "acceptError" in event:
            self._gate.record_refusal("accept_failed", None)
        elif "address" in event:
            self._gate.record_refusal("accept_failed", _make_address(event["address"]))


def _make_address(address: Any) -> IAddress | None:
    """Make an address of what ``accept`` has returned."""
    if not isinstance(address, tuple):
        return None
    kind = IPv4Address if len(address) == 2 else IPv6Address  # noqa: PLR2004 - host and port
    return kind("TCP", *address)
