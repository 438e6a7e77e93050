"""Connects to public addresses only, for where others than the operator name endpoints.

It is the addresses that are connected to which are looked at, so that a name which leads
elsewhere the second time it is asked for leads nowhere.
"""

from ipaddress import IPv6Address as Ip6
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer


class PrivateAddressError(Exception):
    """A host has no public address."""


def is_public(text: str) -> bool:
    """Tell whether an IP address is one of the Internet: not private, loopback, link-local,
    multicast, reserved or unspecified, nor such an IPv4 address inside of an IPv6 one.
    """  # noqa: D205 - one sentence
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, Ip6):
        # What is translated to IPv4 (RFC 6052, RFC 8215) counts as reserved.
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            address = inner
        elif address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a name resolves to."""

    def __init__(self) -> None:
        self.found: list[IAddress] = []
        self.complete: Deferred[list[IAddress]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Go on."""

    def addressResolved(self, address: IAddress) -> None:
        """Keep an address."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Hand over."""
        if not self.complete.called:
            self.complete.callback(self.found)


@implementer(IStreamClientEndpoint)
class PublicEndpoint:
    """Connects to a host, by its public addresses, one after the other.

    Args:
        reactor: Resolves and connects.
        host: A name or an IP address.
        port: The TCP port.
        timeout: Seconds for each address.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """Connect; fails with PrivateAddressError where the host has no public address."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        resolving = _Addresses()
        self._reactor.nameResolver.resolveHostName(resolving, self._host, portNumber=self._port)
        found = [a for a in await resolving.complete if isinstance(a, IPv4Address | IPv6Address)]
        if not found:
            raise DNSLookupError(f"no address of {self._host} was found")
        public = [address for address in found if is_public(address.host)]
        if not public:
            raise PrivateAddressError(
                f"{self._host} is {found[0].host}, which is not public, and "
                "webhooks.allow_private is false"
            )
        for address in public[:-1]:
            try:
                return await self._to(address).connect(factory)
            except ConnectError:
                continue
        return await self._to(public[-1]).connect(factory)

    def _to(self, address: IPv4Address | IPv6Address) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if isinstance(address, IPv6Address) else TCP4ClientEndpoint
        return kind(self._reactor, address.host, self._port, timeout=self._timeout)
