"""Parses Twisted endpoint strings, and derives others from them."""

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple

# Twisted's own types of endpoints only store the reactor, so they can be built without one.
TWISTED_KINDS = ("tcp", "tcp6", "ssl", "tls", "unix", "systemd", "haproxy")
_KINDS_WITH_INTERFACE = ("tcp", "tcp6", "ssl", "tls")
MAX_PORT = 65_535
PROXY_PROTOCOL = "haproxy:"
"""The beginning of an endpoint string whose clients are proxies that speak the PROXY protocol."""
TLS_ARGUMENTS = {
    "tls": ("path", "port", "backlog", "interface"),
    "ssl": (
        *("port", "privateKey", "certKey", "sslmethod", "interface", "backlog"),
        *("extraCertChain", "dhParameters"),
    ),
}
"""The arguments of the endpoints with TLS, in the order in which they are positional."""


class EndpointString(NamedTuple):
    """The parts of an endpoint string, unescaped."""

    kind: str
    positional: list[str]
    named: dict[str, str]

    @property
    def arguments(self) -> dict[str, str]:
        """All arguments of a ``tls:`` or ``ssl:`` endpoint by name, as far as they are known."""
        names = TLS_ARGUMENTS.get(self.kind, ())
        return dict(zip(names, self.positional, strict=False)) | self.named

    @property
    def port(self) -> str:
        """The TCP port as written; empty if there is none. The default of ``tls:`` is 443."""
        if self.kind not in _KINDS_WITH_INTERFACE:
            return ""
        default = "443" if self.kind == "tls" else ""
        given = self.positional[self.port_position : self.port_position + 1]
        return self.named.get("port", given[0] if given else default)

    @property
    def path(self) -> str:
        """The first positional argument: the path of a UNIX socket."""
        return self.positional[0] if self.positional else ""

    @property
    def port_position(self) -> int:
        """The index of the TCP port among the positional arguments, unless the port is named."""
        # The first argument of tls: is the directory with the certificates.
        return 1 if self.kind == "tls" else 0


def parse(text: str) -> EndpointString:
    r"""Parse an endpoint string.

    Args:
        text: The endpoint string, such as ``tcp6:8080:interface=\:\:1``.

    Returns:
        The parts of the string.
    """
    arguments: list[list[str]] = [[""]]
    characters = iter(text)
    for character in characters:
        if character == ":":
            arguments.append([""])
        elif character == "=" and len(arguments[-1]) == 1:
            arguments[-1].append("")
        else:
            arguments[-1][-1] += next(characters, "") if character == "\\" else character
    kind, *rest = arguments
    return EndpointString(
        kind=kind[0],
        positional=[argument[0] for argument in rest if len(argument) == 1],
        named={argument[0]: argument[1] for argument in rest if len(argument) > 1},
    )


def from_address(text: str) -> str:
    """Convert a short address to an endpoint string.

    Args:
        text: A port number, which means this port on loopback; or ``HOST:PORT``,
            with an IPv6 address in square brackets; or an endpoint string.

    Returns:
        The endpoint string. A text that is not a short address is returned unchanged.
    """
    if re.fullmatch(r"[0-9]+", text):
        return f"tcp:{text}:interface=127.0.0.1"
    short = re.fullmatch(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]:([0-9]+)", text)
    if short is not None:
        host = short[1].replace(":", "\\:")
        return f"tcp6:{short[2]}:interface={host}" if _is_address(short[1]) else text
    short = re.fullmatch(r"([A-Za-z0-9._-]+):([0-9]+)", text)
    if short is None or short[1] in TWISTED_KINDS:
        return text
    return f"tcp:{short[2]}:interface={short[1]}"


def for_worker(text: str, number: int) -> str:
    """Return a worker's own endpoint: worker 1 has the given TCP port, worker 2 the next one.

    Args:
        text: A valid endpoint string, which worker 1 gets unchanged.
        number: The worker's number, from 1.

    Returns:
        An endpoint string. Port 0 (any free port) stays 0.

    Raises:
        ValueError: The endpoint has no TCP port, or the worker's port would exceed 65535.
    """
    endpoint = parse(text)
    if not endpoint.port:
        raise ValueError("each worker needs a TCP port of its own")
    port = int(endpoint.port) + number - 1 if int(endpoint.port) else 0
    if port > MAX_PORT:
        raise ValueError(f"worker {number} would need port {port}")
    if number == 1:
        return text
    positional, named = list(endpoint.positional), dict(endpoint.named)
    if len(positional) > endpoint.port_position:
        positional[endpoint.port_position] = str(port)
    else:
        named["port"] = str(port)
    options = [f"{name}={_escape(value)}" for name, value in named.items()]
    return ":".join([endpoint.kind, *map(_escape, positional), *options])


def _escape(text: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", text)


def without_layers(text: str) -> str:
    """Return the endpoint on which an endpoint with TLS or the PROXY protocol listens.

    Args:
        text: A valid endpoint string.

    Returns:
        An endpoint string without TLS and without the PROXY protocol, on the same socket.
    """
    text = text.removeprefix(PROXY_PROTOCOL)
    endpoint = parse(text)
    if endpoint.kind not in TLS_ARGUMENTS:
        return text
    # As in Twisted, ssl: listens on IPv4 by default, and tls: on IPv6, which includes IPv4.
    kind = "tcp6" if endpoint.kind == "tls" else "tcp"
    options = [
        f"{name}={_escape(value)}"
        for name, value in endpoint.arguments.items()
        if name in {"backlog", "interface"}
    ]
    return ":".join([kind, _escape(endpoint.port), *options])


def conflict(one: str, other: str) -> bool:
    """Return whether two endpoints conflict, so that a node cannot listen on both.

    Args:
        one: A valid endpoint string.
        other: Another valid endpoint string.

    Returns:
        True if both endpoints use the same UNIX socket, or the same TCP port and interface.
        An endpoint on all interfaces conflicts with an endpoint on the same port and any interface
        of the same IP version.
    """
    first, second = parse(one), parse(other)
    if first.kind == second.kind == "unix":
        return Path(first.path) == Path(second.path)
    port = int(first.port or 0)
    if not port or port != int(second.port or 0):
        return False
    one_host, other_host = _interface(first), _interface(second)
    return one_host.version == other_host.version and (
        one_host == other_host or one_host.is_unspecified or other_host.is_unspecified
    )


def _interface(endpoint: EndpointString) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an endpoint's IP address; a host name (not localhost) counts as all interfaces."""
    host = endpoint.named.get("interface", "")
    if _is_address(host):
        return ipaddress.ip_address(host)
    if host == "localhost":
        return ipaddress.ip_address("127.0.0.1")
    return ipaddress.ip_address("::" if endpoint.kind == "tcp6" else "0.0.0.0")  # noqa: S104 - compared only


def is_local(text: str) -> bool:
    """Return whether only this machine can reach an endpoint.

    Args:
        text: The endpoint string.

    Returns:
        True for a UNIX socket, and for TCP with a loopback address as ``interface=``.
    """
    endpoint = parse(text)
    if endpoint.kind == "unix":
        return True
    return endpoint.kind in _KINDS_WITH_INTERFACE and is_loopback(
        endpoint.named.get("interface", "")
    )


def is_host(host: str) -> bool:
    """Return whether a text has the form of an IP address or of a host name.

    Args:
        host: The text.
    """
    return _is_address(host) or re.fullmatch(r"[A-Za-z0-9._-]+", host) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback.

    Args:
        host: An IP address or a host name.

    Returns:
        True for 127.0.0.0/8, ``::1`` and ``localhost``.
    """
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
