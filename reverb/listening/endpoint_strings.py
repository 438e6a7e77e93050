"""What can be known of a Twisted endpoint string before the reactor listens on it."""

import ipaddress
import re
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

# Twisted's own kinds only keep the reactor for later, so they can be parsed without one.
_KINDS_OF_TWISTED = ("tcp", "tcp6", "ssl", "tls", "unix", "systemd", "haproxy")
_KINDS_WITH_INTERFACE = ("tcp", "tcp6", "ssl", "tls")
_HIGHEST_PORT = 65_535
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


class EndpointString(NamedTuple):
    """An endpoint string's parts, without their escapes."""

    kind: str
    positional: list[str]
    named: dict[str, str]

    @property
    def port(self) -> str:
        """The TCP port as it is written, or nothing if the kind has none."""
        if self.kind not in _KINDS_WITH_INTERFACE:
            return ""
        default = "443" if self.kind == "tls" else ""
        given = self.positional[self.port_position : self.port_position + 1]
        return self.named.get("port", given[0] if given else default)

    @property
    def port_position(self) -> int:
        """Where the port stands among the positional parts, if it stands there."""
        # In tls: the certificates' directory comes first.
        return 1 if self.kind == "tls" else 0


def parse(text: str) -> EndpointString:
    r"""Split an endpoint string at its colons.

    Args:
        text: Such as ``tcp6:8080:interface=\:\:1``.

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
    """Write a short address as an endpoint string.

    Args:
        text: A port of loopback, ``HOST:PORT`` with an IPv6 address in square
            brackets, or an endpoint string.

    Returns:
        The endpoint string; what is neither short nor one is returned as it is.
    """
    if re.fullmatch(r"[0-9]+", text):
        return f"tcp:{text}:interface=127.0.0.1"
    short = re.fullmatch(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]:([0-9]+)", text)
    if short is not None:
        host = short[1].replace(":", "\\:")
        return f"tcp6:{short[2]}:interface={host}" if _is_address(short[1]) else text
    short = re.fullmatch(r"([A-Za-z0-9._-]+):([0-9]+)", text)
    if short is None or short[1] in _KINDS_OF_TWISTED:
        return text
    return f"tcp:{short[2]}:interface={short[1]}"


def for_worker(text: str, number: int) -> str:
    """Give a worker an endpoint of its own: the TCP port that many further on.

    Args:
        text: An endpoint string in which nothing is wrong.
        number: The worker's, from 1; the first has the endpoint as it is.

    Returns:
        An endpoint string. Port 0, a free one, stays as it is.

    Raises:
        ValueError: The endpoint has no TCP port, or there is none so far on.
    """
    endpoint = parse(text)
    if not endpoint.port:
        raise ValueError("each worker needs a TCP port of its own")
    port = int(endpoint.port) + number - 1 if int(endpoint.port) else 0
    if port > _HIGHEST_PORT:
        raise ValueError(f"worker {number} would need port {port}")
    if number == 1:
        return text
    words, named = list(endpoint.positional), dict(endpoint.named)
    if len(words) > endpoint.port_position:
        words[endpoint.port_position] = str(port)
    else:
        named["port"] = str(port)
    options = [f"{name}={_escaped(value)}" for name, value in named.items()]
    return ":".join([endpoint.kind, *map(_escaped, words), *options])


def _escaped(text: str) -> str:
    return re.sub(r"([\\:=])", r"\\\1", text)


def clash(one: str, other: str) -> bool:
    """Tell whether two endpoints cannot both be listened on.

    Args:
        one: An endpoint string in which nothing is wrong.
        other: Another one.

    Returns:
        True for one TCP port on the same interface or on all of them, and for one UNIX socket.
    """
    first, second = parse(one), parse(other)
    if first.kind == second.kind == "unix":
        return Path(_first(first)) == Path(_first(second))
    port = int(first.port or 0)
    if not port or port != int(second.port or 0):
        return False
    here, there = _interface(first), _interface(second)
    return here.version == there.version and (
        here == there or here.is_unspecified or there.is_unspecified
    )


def _interface(endpoint: EndpointString) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Get the address of the interface, as far as it is known without asking a name server."""
    host = endpoint.named.get("interface", "")
    if _is_address(host):
        return ipaddress.ip_address(host)
    if host == "localhost":
        return ipaddress.ip_address("127.0.0.1")
    return ipaddress.ip_address("::" if endpoint.kind == "tcp6" else "0.0.0.0")  # noqa: S104 - compared only


def problem_of(text: str) -> str:
    """Tell why nothing can listen on an endpoint string.

    Endpoints of other packages' plugins are not built, as that may need the reactor.

    Args:
        text: The endpoint string.

    Returns:
        The reason in a few words, or nothing when the string is good.
    """
    endpoint = parse(text)
    if endpoint.kind not in _KINDS_OF_TWISTED:
        plugins = getPlugins(IStreamServerEndpointStringParser)
        known = any(plugin.prefix.lower() == endpoint.kind.lower() for plugin in plugins)
        return "" if known else f"unknown kind of endpoint {endpoint.kind!r}"
    if problem := _file_problem(endpoint) or _port_problem(endpoint):
        return problem
    try:
        serverFromString(None, text)
    except LookupError:
        return "systemd passed no such socket"
    except Exception as error:  # noqa: BLE001 - parsers raise whatever their arguments cause
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _port_problem(endpoint: EndpointString) -> str:
    port = endpoint.port
    if not port or (re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= _HIGHEST_PORT):
        return ""
    return f"a port is from 0 to {_HIGHEST_PORT}, not {port!r}"


def _file_problem(endpoint: EndpointString) -> str:
    """Tell what is wrong with the files that an endpoint is about."""
    path = Path(_first(endpoint))
    if endpoint.kind == "tls":
        if not path.is_dir():
            return f"there is no directory of certificates {str(path)!r}"
        return _certificate_problem(endpoint, f"{str(path)!r}, in files that end in .pem")
    if endpoint.kind == "ssl":
        names = " and ".join(repr(str(path)) for path in _certificate_files(endpoint))
        return _certificate_problem(endpoint, names)
    if endpoint.kind == "unix":
        if not path.parent.is_dir():
            return f"there is no directory {str(path.parent)!r}"
        if path.is_dir():
            return f"{str(path)!r} is a directory"
    return ""


def certificate_files(text: str) -> list[Path]:
    """List the files of an endpoint's certificates and their keys, which may not be there.

    Args:
        text: The endpoint string.

    Returns:
        The paths, none where the endpoint has no certificate.

    Raises:
        OSError: A directory cannot be read.
    """
    return _certificate_files(parse(text))


def _certificate_files(endpoint: EndpointString) -> list[Path]:
    if endpoint.kind == "tls":
        return sorted(path for path in Path(_first(endpoint)).rglob("*.pem") if path.is_file())
    if endpoint.kind == "ssl":
        named, (key, certificate) = endpoint.named, [*endpoint.positional[1:3], "", ""][:2]
        key = named.get("privateKey", key or "server.pem")
        names = [key, named.get("certKey", certificate or key), named.get("extraCertChain", key)]
        return [Path(name) for name in dict.fromkeys(names)]
    return []


def _certificate_problem(endpoint: EndpointString, where: str) -> str:
    """Tell why Twisted would find no certificate; it would not say so, or not in which file."""
    hosts_of: dict[bytes, list[str]] = {}
    keys: set[bytes] = set()
    try:
        for path in _certificate_files(endpoint):
            pem = path.read_bytes()
            what = "private key"
            try:
                for key in _PRIVATE_KEY.findall(pem):
                    keys.add(_written(load_pem_private_key(key, None).public_key()))
                what = "certificate"
                if b"-----BEGIN CERTIFICATE-----" in pem:
                    for one in load_pem_x509_certificates(pem):
                        hosts_of.setdefault(_written(one.public_key()), []).extend(_hosts(one))
            except TypeError:
                return f"a {what} in {str(path)!r} has a password"
            except (ValueError, UnsupportedAlgorithm):
                return f"a {what} in {str(path)!r} is malformed"
    except OSError as error:
        return f"{error.filename!r} cannot be read: {error.strerror}"
    usable = hosts_of.keys() & keys
    if not usable:
        return f"there is no certificate with its private key in {where}"
    if endpoint.kind == "tls" and not any(hosts_of[key] for key in usable):
        return f"there is no certificate of a host's name in {where}; for an IP address use ssl:"
    return ""


def _hosts(certificate: Certificate) -> list[str]:
    """List the names by which a tls: endpoint chooses a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return []
    return names.get_values_for_type(DNSName)


def _written(key: Any) -> bytes:
    written: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return written


def _first(endpoint: EndpointString) -> str:
    return endpoint.positional[0] if endpoint.positional else ""


def is_local(text: str) -> bool:
    """Tell whether an endpoint is reachable from this machine only.

    Args:
        text: The endpoint string.

    Returns:
        True for a UNIX socket, or TCP with an ``interface=`` that is a loopback address.
    """
    endpoint = parse(text)
    if endpoint.kind == "unix":
        return True
    return endpoint.kind in _KINDS_WITH_INTERFACE and is_loopback(
        endpoint.named.get("interface", "")
    )


def is_host(host: str) -> bool:
    """Tell whether text can name a network interface.

    Args:
        host: The text.

    Returns:
        True for an IP address and for anything that could be a host's name.
    """
    return _is_address(host) or re.fullmatch(r"[A-Za-z0-9._-]+", host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine's loopback.

    Args:
        host: An IP address or a name.

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
