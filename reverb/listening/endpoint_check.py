"""Checks endpoint strings, and the files that they name, before the reactor listens on them."""

import re
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from reverb.listening import endpoint_strings
from reverb.listening.certificates import load_contexts
from reverb.listening.endpoint_strings import (
    MAX_PORT,
    PROXY_PROTOCOL,
    TLS_ARGUMENTS,
    TWISTED_KINDS,
    EndpointString,
)
from reverb.listening.pem import CertificateError


def find_problem(text: str) -> str:
    """Return why a server cannot listen on an endpoint string.

    For an endpoint of a third-party plugin, only the endpoint's type is checked, because
    building the endpoint may need the reactor.

    Args:
        text: The endpoint string.

    Returns:
        The reason in a few words; empty if no problem is found.
    """
    text = text.removeprefix(PROXY_PROTOCOL)
    endpoint = endpoint_strings.parse(text)
    if endpoint.kind not in TWISTED_KINDS:
        plugins = getPlugins(IStreamServerEndpointStringParser)
        known = any(plugin.prefix.lower() == endpoint.kind.lower() for plugin in plugins)
        return "" if known else f"unknown endpoint type {endpoint.kind!r}"
    if problem := _path_problem(endpoint) or _port_problem(endpoint):
        return problem
    try:
        serverFromString(None, endpoint_strings.without_layers(text))
    except LookupError:
        return "systemd passed no such socket"
    except Exception as error:  # noqa: BLE001 - malformed arguments cause exceptions of any type
        return " ".join(str(error).split()) or type(error).__name__
    return _tls_problem(text, endpoint)


def _port_problem(endpoint: EndpointString) -> str:
    port = endpoint.port
    if not port and endpoint.kind == "ssl":
        return "the port is missing"
    if not port or (re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= MAX_PORT):
        return ""
    return f"the port must be from 0 to {MAX_PORT}, not {port!r}"


def _path_problem(endpoint: EndpointString) -> str:
    """Return the problem with the path that an endpoint names; empty if there is none."""
    if endpoint.kind == "tls":
        path = Path(endpoint.arguments.get("path", ""))
        if path.is_file():
            return f"{str(path)!r} is a file: name its directory, or use ssl:"
        if not path.is_dir():
            return f"no such certificate directory: {str(path)!r}"
    if endpoint.kind == "unix":
        path = Path(endpoint.path)
        if not path.parent.is_dir():
            return f"no such directory: {str(path.parent)!r}"
        if path.is_dir():
            return f"{str(path)!r} is a directory"
    return ""


def _tls_problem(text: str, endpoint: EndpointString) -> str:
    """Return the problem with the arguments and the certificates of an endpoint with TLS."""
    names = TLS_ARGUMENTS.get(endpoint.kind)
    if names is None:
        return ""
    if len(endpoint.positional) > len(names):
        return f"{endpoint.kind}: has more than {len(names)} arguments"
    if unknown := endpoint.named.keys() - set(names):
        return f"{endpoint.kind}: has no argument {min(unknown)!r}"
    method = endpoint.arguments.get("sslmethod")
    if method is not None and not hasattr(SSL, method):
        return f"unknown sslmethod {method!r}"
    try:
        load_contexts(text)
    except CertificateError as error:
        return str(error)
    return ""
