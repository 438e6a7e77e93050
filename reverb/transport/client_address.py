"""Finds the address of a client, even behind proxies, for limits, the log and metrics.

Only a *trusted proxy* may tell a node the address of a client, in one of two ways:

- Each proxy appends the address of its peer to ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239). So
  the node reads ``X-Forwarded-For`` and ``Forwarded`` from right to left. From the right, the first
  address that does not belong to a trusted proxy is the client's address. The node ignores the
  addresses to the left of the client's address, because they may be forged.
- A proxy sends the client's address by the PROXY protocol. The endpoint ``haproxy:`` reads the
  header of the PROXY protocol.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from itertools import islice
from typing import Any, NamedTuple

from twisted.internet import address
from twisted.protocols.policies import ProtocolWrapper

from reverb.host_port import format_host_port
from reverb.http import Headers
from reverb.listening.proxy_protocol import is_proxy_protocol
from reverb.memoize import memoize_short_keys
from reverb.transport.wrapped_transport import unwrap

UNIX = "unix"
"""The host of a client on a UNIX socket, and the item of ``trusted_proxies`` for such a proxy."""
_UNKNOWN = "unknown"
_MAX_HOPS = 50
"""The most addresses that are read of each header that proxies append to."""
_MAX_CACHED = 4_096
_MAPPED_BITS = 96
"""The length of the prefix of IPv4-mapped addresses, ``::ffff:0:0/96`` (RFC 4291, 2.5.5.2)."""
_HOST_BITS = 64
"""The number of bits of an IPv6 address that a host may choose itself (RFC 4291, 2.5.1)."""
_MAX_ADDRESS_LENGTH = 50
_IP = IPv4Address | IPv6Address
_NETWORK = IPv4Network | IPv6Network


class ClientAddress(NamedTuple):
    """The address of a client."""

    host: str
    """The IP address (IPv4 if it is IPv4-mapped), ``unix`` for a UNIX socket, or ``unknown``."""
    port: int = 0
    """The TCP port; 0 if it is unknown."""
    network: str = _UNKNOWN
    """The name under which limits count clients: an IPv4 address, or the /64 of an IPv6 address."""
    limited: bool = False
    """Whether the limits for each address apply to this client."""

    def __str__(self) -> str:
        """Format the address for the log."""
        return format_host_port(self.host, self.port) if self.port else self.host


UNKNOWN_ADDRESS = ClientAddress(_UNKNOWN)
"""The address of a client whose transport knows no address."""


def parse_network(text: str) -> _NETWORK | None:
    """Parse an item of ``trusted_proxies``.

    Args:
        text: An IP address, a network in CIDR notation, or ``unix``.

    Returns:
        The network; None for ``unix``.

    Raises:
        ValueError: The text is neither an address, nor a network, nor ``unix``.
    """
    if text == UNIX:
        return None
    try:
        network = ip_network(text)
    except ValueError:
        try:
            hint = f"; the network of this address is {ip_network(text, strict=False)}"
        except ValueError:
            hint = ""
        raise ValueError(
            "expected IP addresses, networks such as 10.0.0.0/8 or fd00::/8, or unix, got "
            f"{text[:60]!r}{hint}"
        ) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


class _Host(NamedTuple):
    """The result of parsing a text as an IP address."""

    ip: _IP | None
    """The address (IPv4 if it is IPv4-mapped); None if the text is not an address."""
    text: str = _UNKNOWN
    network: str = _UNKNOWN


def _parse_host(text: str) -> _Host:
    try:
        ip = ip_address(text)
    except ValueError:
        return _Host(None)
    if isinstance(ip, IPv4Address):
        return _Host(ip, text, text)
    if ip.ipv4_mapped is not None:
        text = str(ip.ipv4_mapped)
        return _Host(ip.ipv4_mapped, text, text)
    # The number leaves out the zone of the address, which may be any text.
    number = int(ip)
    network = IPv6Network((number >> _HOST_BITS << _HOST_BITS, 128 - _HOST_BITS))
    return _Host(ip, str(IPv6Address(number)), str(network))


parse_host: Callable[[str], _Host] = memoize_short_keys(
    _parse_host, max_entries=_MAX_CACHED, max_length=_MAX_ADDRESS_LENGTH
)


class ClientAddresses:
    """Finds the addresses of clients.

    Args:
        trusted_proxies: The proxies that may tell the addresses of clients. Each item is an IP
            address, a network in CIDR notation, or ``unix`` for proxies on a UNIX socket.

    Raises:
        ValueError: An item is neither an address, nor a network, nor ``unix``.
    """

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        networks = [parse_network(text) for text in trusted_proxies]
        self._trusts_unix = None in networks
        self._networks = [network for network in networks if network is not None]
        self._is_trusted = lru_cache(_MAX_CACHED)(self._is_in_networks)

    def find(self, transport: Any, head: bytes) -> ClientAddress:
        """Find the address of a client.

        Args:
            transport: The transport of the client's connection.
            head: The head of the client's request, which is read if the peer is a trusted proxy.
        """
        peer = transport.getPeer()
        if isinstance(transport, ProtocolWrapper):
            peer, is_proxy = self._read_proxy_protocol(transport, peer)
            if is_proxy:
                return make_address(peer, limited=False)
        if not (self._networks or self._trusts_unix) or not self._trusts(peer):
            return make_address(peer, limited=True)
        return self._read_headers(peer, Headers(head.partition(b"\r\n")[2]))

    def _trusts(self, peer: Any) -> bool:
        if isinstance(peer, address.UNIXAddress):
            return self._trusts_unix
        ip = parse_host(peer.host).ip if hasattr(peer, "host") else None
        return ip is not None and self._is_trusted(ip)

    def _is_in_networks(self, ip: _IP) -> bool:
        return any(ip in network for network in self._networks)

    def _read_proxy_protocol(self, transport: Any, peer: Any) -> tuple[Any, bool]:
        """Choose between the address in the PROXY header and the address of the header's sender.

        Without ``trusted_proxies``, every peer of an endpoint ``haproxy:`` is a trusted proxy.

        Returns:
            The chosen address, and whether it is the address of a proxy that names no client, as in
            a health check.
        """
        proxy = unwrap(transport).getPeer()
        if not _speaks_proxy_protocol(transport):
            return peer, False
        if (self._networks or self._trusts_unix) and not self._trusts(proxy):
            return proxy, False
        return peer, peer == proxy

    def _read_headers(self, proxy: Any, headers: Headers) -> ClientAddress:
        """Return the client's address according to the headers that a trusted proxy has sent."""
        found: list[ClientAddress] = []
        for name, parse in (("x-forwarded-for", _split_list), ("forwarded", _split_forwarded)):
            value = headers.get(name)
            if value is not None and (client := self._find_client(parse(value))) is not None:
                found.append(client)
        if not found:
            return make_address(proxy, limited=False)
        if found[0].host != found[-1].host:
            # The proxy wrote one of the headers, and passed on the other one as the client sent it.
            # The node cannot tell which, so all such clients share the limits of one address.
            return make_address(proxy, limited=True, conflict=True)
        return found[0]

    def _find_client(self, hops: Iterable[str]) -> ClientAddress | None:
        """Return the address of the first hop that is not a trusted proxy.

        Args:
            hops: The addresses that the proxies have appended, the latest one first.

        Returns:
            The address of the first hop in ``hops`` that is not a trusted proxy. If every hop
            before the first unreadable hop (or the end) is a trusted proxy, the address of the last
            of these proxies. None if the first hop is unreadable.
        """
        client = None
        for hop in islice(hops, _MAX_HOPS):
            text, port = _split_port(hop)
            host = parse_host(text)
            if host.ip is None:
                break
            is_trusted = self._is_trusted(host.ip)
            client = ClientAddress(host.text, port, host.network, not is_trusted)
            if not is_trusted:
                break
        return client


def _speaks_proxy_protocol(transport: Any) -> bool:
    while isinstance(transport, ProtocolWrapper):
        if is_proxy_protocol(transport):
            return True
        transport = transport.transport
    return False


def make_address(peer: Any, *, limited: bool = False, conflict: bool = False) -> ClientAddress:
    """Make the :class:`ClientAddress` of a transport's peer.

    Args:
        peer: The address that the transport's ``getPeer`` has returned.
        limited: Whether the limits for each address apply to the peer, if the peer has an IP
            address.
        conflict: Whether the peer is a proxy whose headers name different clients.
    """
    if isinstance(peer, address.IPv4Address | address.IPv6Address):
        host = parse_host(peer.host)
        network = f"{host.network}, conflicting headers" if conflict else host.network
        # A PROXY header may contain other text. Limits do not apply to unknown clients.
        return ClientAddress(host.text, peer.port, network, limited and host.ip is not None)
    if isinstance(peer, address.UNIXAddress):
        return ClientAddress(UNIX, 0, UNIX)
    return UNKNOWN_ADDRESS


def _split_list(value: str) -> Iterator[str]:
    """Yield the items of ``X-Forwarded-For``, the last one first."""
    end = len(value)
    while end >= 0:
        start = value.rfind(",", 0, end)
        yield value[start + 1 : end].strip()
        end = start


def _split_forwarded(value: str) -> Iterator[str]:
    """Yield the ``for`` parameter of each element of ``Forwarded`` (RFC 7239, 4), in reverse order.

    Yields an empty string for an element without ``for``. A quoted string may contain commas and
    semicolons. The header is read from the right, so that an unbalanced quotation mark from a
    client does not hide the elements that the proxies have appended.
    """
    node = ""
    for separator, pair in _split_quoted(value):
        name, _, text = pair.partition("=")
        if name.strip().lower() == "for":
            node = text.strip().strip('"')
        if separator != ";":
            yield node
            node = ""


def _split_quoted(value: str) -> Iterator[tuple[str, str]]:
    """Split a header at the commas and semicolons outside of quoted strings, from the right.

    Yields:
        The comma or semicolon before a part (empty before the leftmost part), and the part.
    """
    end = len(value)
    quoted = False
    for index in range(len(value) - 1, -1, -1):
        character = value[index]
        if character == '"':
            # In a quoted string, a backslash before a quotation mark escapes it.
            quoted = not quoted or value[index - 1 : index] == "\\"
        elif character in ",;" and not quoted:
            yield character, value[index + 1 : end]
            end = index
    yield "", value[:end]


def _split_port(text: str) -> tuple[str, int]:
    """Split ``1.2.3.4``, ``1.2.3.4:567``, ``[::1]:567`` or ``::1`` into host and port.

    If there is no port, the returned port is 0.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    return host, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0  # noqa: PLR2004 - 65535
