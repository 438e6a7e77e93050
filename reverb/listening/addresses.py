"""Lists the addresses that a node listens on, and formats them for the log."""

import os
from collections.abc import Iterable

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IListeningPort

from reverb.host_port import format_host_port


def listening_addresses(listeners: Iterable[IService]) -> "list[IAddress]":
    """Return the addresses of those services that are listening now.

    Args:
        listeners: The services; all but those of class ``StreamServerEndpointService`` are ignored.
    """
    services = [s for s in listeners if isinstance(s, StreamServerEndpointService)]
    deferreds = [service._waitingForPort for service in services]  # noqa: SLF001 - there is no public API
    ports = [getattr(port, "result", None) for port in deferreds if port is not None]
    return [port.getHost() for port in ports if IListeningPort.providedBy(port)]


def format_address(address: IAddress) -> str:
    """Format an address: ``host:port``, ``unix:path``, or Twisted's format for other types."""
    if isinstance(address, IPv4Address | IPv6Address):
        return format_host_port(address.host, address.port)
    if isinstance(address, UNIXAddress) and address.name is not None:
        return f"unix:{os.fsdecode(address.name)}"
    return str(address)
