"""Where a node listens, and how that is written for people."""

import os
from collections.abc import Iterable

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IListeningPort

from reverb.host_port import format_host_port


def listening_addresses(listeners: Iterable[IService]) -> "list[IAddress]":
    """List the addresses of those services that listen already."""
    services = [s for s in listeners if isinstance(s, StreamServerEndpointService)]
    waiting = [service._waitingForPort for service in services]  # noqa: SLF001 - there is no public way
    ports = [getattr(port, "result", None) for port in waiting if port is not None]
    return [port.getHost() for port in ports if IListeningPort.providedBy(port)]


def format_address(address: IAddress) -> str:
    """Write an address the way people do."""
    if isinstance(address, IPv4Address | IPv6Address):
        return format_host_port(address.host, address.port)
    if isinstance(address, UNIXAddress) and address.name is not None:
        return f"unix:{os.fsdecode(address.name)}"
    return str(address)
