"""Connects to public addresses only, so that no webhook reaches the operator's private network.

Each connect resolves the host once, checks the addresses, and uses only addresses that passed the
check. So a name that resolves to another address after the check (DNS rebinding) cannot bypass the
check.
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

from reverb.deferred import returns_deferred


class PrivateAddressError(Exception):
    """A host has no public address."""


def is_public(text: str) -> bool:
    """Return whether an IP address is public.

    Private, loopback, link-local, multicast, reserved and unspecified addresses are not public. An
    IPv6 address that embeds an IPv4 address is not public if the IPv4 address is not public. The
    result is False for a text that is not an address.

    Args:
        text: The address, possibly with a scope such as ``%eth0``.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, Ip6):
        # The prefixes for translation to IPv4 (RFC 6052, RFC 8215) count as reserved.
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            address = inner
        elif address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@implementer(IResolutionReceiver)
class _AddressCollector:
    """Collects the addresses that a name resolves to.

    Attributes:
        found: The addresses found so far.
        complete: Fires with all addresses at the end of the resolution.
    """

    def __init__(self) -> None:
        self.found: list[IAddress] = []
        self.complete: Deferred[list[IAddress]] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Ignore the start of the resolution."""

    def addressResolved(self, address: IAddress) -> None:
        """Add an address."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Fire ``complete``."""
        if not self.complete.called:
            self.complete.callback(self.found)


@implementer(IStreamClientEndpoint)
class PublicEndpoint:
    """A client endpoint that tries the public addresses of a host, one after the other.

    Args:
        reactor: Resolves the host and connects.
        host: A name or an IP address.
        port: The TCP port.
        timeout: Seconds after which to give up connecting to one address.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout

    @returns_deferred
    async def connect(self, protocolFactory: IProtocolFactory) -> IProtocol:
        """Connect to the first public address that accepts the connection.

        Returns:
            Fires with the connected protocol. Fails with DNSLookupError if the host has no
            address, and with PrivateAddressError if the host has no public address. If no public
            address accepts, fails with the ConnectError of the last public address.
        """
        collector = _AddressCollector()
        self._reactor.nameResolver.resolveHostName(collector, self._host, portNumber=self._port)
        found = [a for a in await collector.complete if isinstance(a, IPv4Address | IPv6Address)]
        if not found:
            raise DNSLookupError(f"no address was found for {self._host}")
        public = [address for address in found if is_public(address.host)]
        if not public:
            raise PrivateAddressError(
                f"{self._host} resolves to {found[0].host}, which is not public, and "
                "webhooks.allow_private is false"
            )
        for address in public[:-1]:
            try:
                return await self._endpoint_for(address).connect(protocolFactory)
            except ConnectError:
                continue
        return await self._endpoint_for(public[-1]).connect(protocolFactory)

    def _endpoint_for(self, address: IPv4Address | IPv6Address) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if isinstance(address, IPv6Address) else TCP4ClientEndpoint
        return kind(self._reactor, address.host, self._port, timeout=self._timeout)
