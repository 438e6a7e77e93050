"""Parses and checks Twisted endpoint strings before the reactor listens on them."""

import errno
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

# Twisted's own types of endpoints only store the reactor, so they can be built without one.
_TWISTED_KINDS = ("tcp", "tcp6", "ssl", "tls", "unix", "systemd", "haproxy")
_KINDS_WITH_INTERFACE = ("tcp", "tcp6", "ssl", "tls")
_MAX_PORT = 65_535
_MAX_PEM_BYTES = 1_048_576
"""The largest file of certificates and private keys, in bytes."""
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


class EndpointString(NamedTuple):
    """The parts of an endpoint string, unescaped."""

    kind: str
    positional: list[str]
    named: dict[str, str]

    @property
    def port(self) -> str:
        """The TCP port as written; empty if there is none. The default of ``tls:`` is 443."""
        if self.kind not in _KINDS_WITH_INTERFACE:
            return ""
        default = "443" if self.kind == "tls" else ""
        given = self.positional[self.port_position : self.port_position + 1]
        return self.named.get("port", given[0] if given else default)

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
    if short is None or short[1] in _TWISTED_KINDS:
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
    if port > _MAX_PORT:
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
        return Path(_first_argument(first)) == Path(_first_argument(second))
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


def find_problem(text: str) -> str:
    """Return why a server cannot listen on an endpoint string.

    For an endpoint of a third-party plugin, only the endpoint's type is checked, because
    building the endpoint may need the reactor.

    Args:
        text: The endpoint string.

    Returns:
        The reason in a few words; empty if no problem is found.
    """
    endpoint = parse(text)
    if endpoint.kind not in _TWISTED_KINDS:
        plugins = getPlugins(IStreamServerEndpointStringParser)
        known = any(plugin.prefix.lower() == endpoint.kind.lower() for plugin in plugins)
        return "" if known else f"unknown endpoint type {endpoint.kind!r}"
    if problem := _file_problem(endpoint) or _port_problem(endpoint):
        return problem
    try:
        serverFromString(None, text)
    except LookupError:
        return "systemd passed no such socket"
    except Exception as error:  # noqa: BLE001 - malformed arguments cause exceptions of any type
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _port_problem(endpoint: EndpointString) -> str:
    port = endpoint.port
    if not port or (re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= _MAX_PORT):
        return ""
    return f"the port must be from 0 to {_MAX_PORT}, not {port!r}"


def _file_problem(endpoint: EndpointString) -> str:
    """Return the problem with the files that an endpoint names; empty if there is none."""
    path = Path(_first_argument(endpoint))
    if endpoint.kind == "tls":
        if not path.is_dir():
            return f"no such certificate directory: {str(path)!r}"
        return _certificate_problem(endpoint, f"{str(path)!r}, in files that end in .pem")
    if endpoint.kind == "ssl":
        names = " and ".join(repr(str(path)) for path in _certificate_files(endpoint))
        return _certificate_problem(endpoint, names)
    if endpoint.kind == "unix":
        if not path.parent.is_dir():
            return f"no such directory: {str(path.parent)!r}"
        if path.is_dir():
            return f"{str(path)!r} is a directory"
    return ""


def certificate_files(text: str) -> list[Path]:
    """List the files of an endpoint's certificates and keys; some may not exist.

    Args:
        text: The endpoint string.

    Returns:
        The paths; empty if the endpoint is neither ``tls:`` nor ``ssl:``.

    Raises:
        OSError: A directory cannot be read.
    """
    return _certificate_files(parse(text))


def _certificate_files(endpoint: EndpointString) -> list[Path]:
    if endpoint.kind == "tls":
        files = Path(_first_argument(endpoint)).rglob("*.pem")
        return sorted(path for path in files if path.is_file())
    if endpoint.kind == "ssl":
        named, (key, certificate) = endpoint.named, [*endpoint.positional[1:3], "", ""][:2]
        key = named.get("privateKey", key or "server.pem")
        names = [key, named.get("certKey", certificate or key), named.get("extraCertChain", key)]
        return [Path(name) for name in dict.fromkeys(names)]
    return []


def _certificate_problem(endpoint: EndpointString, where: str) -> str:
    """Return why Twisted would find no usable certificate; empty if it would find one.

    Twisted itself would not report the problem, or would not name the file.
    """
    names_by_key: dict[bytes, list[str]] = {}
    keys: set[bytes] = set()
    try:
        for path in _certificate_files(endpoint):
            pem = _read_pem(path)
            item = "private key"
            try:
                for key in _PRIVATE_KEY.findall(pem):
                    keys.add(_encode_public_key(load_pem_private_key(key, None).public_key()))
                item = "certificate"
                if b"-----BEGIN CERTIFICATE-----" in pem:
                    for certificate in load_pem_x509_certificates(pem):
                        public_key = _encode_public_key(certificate.public_key())
                        names_by_key.setdefault(public_key, []).extend(_dns_names(certificate))
            except TypeError:
                return f"a {item} in {str(path)!r} is encrypted with a password"
            except (ValueError, UnsupportedAlgorithm):
                return f"a {item} in {str(path)!r} is malformed"
    except OSError as error:
        return f"{error.filename!r} cannot be read: {error.strerror}"
    usable = names_by_key.keys() & keys
    if not usable:
        return f"found no certificate with its private key in {where}"
    if endpoint.kind == "tls" and not any(names_by_key[key] for key in usable):
        return f"found no certificate for a host name in {where}; for an IP address use ssl:"
    return ""


def _read_pem(path: Path) -> bytes:
    """Read a file of certificates and private keys; a file that is too large raises OSError."""
    with path.open("rb") as file:
        pem = file.read(_MAX_PEM_BYTES + 1)
    if len(pem) > _MAX_PEM_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MAX_PEM_BYTES} bytes", str(path))
    return pem


def _dns_names(certificate: Certificate) -> list[str]:
    """List a certificate's DNS names; a tls: endpoint selects the certificate by these names."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return []
    return names.get_values_for_type(DNSName)


def _encode_public_key(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _first_argument(endpoint: EndpointString) -> str:
    return endpoint.positional[0] if endpoint.positional else ""


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
