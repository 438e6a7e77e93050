"""Splits and checks the parts that the URLs of Redis and NATS have in common.

A URL is ``SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?NAME=VALUE``. No error shows a
password.
"""

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, unquote

import msgspec

from reverb.host_port import Address, parse_host_port
from reverb.redaction import Password, RedactedStruct

# A pattern, because urlsplit supports one host only.
_URL = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<netloc>[^/?]*)(?P<path>[^?]*)\??(?P<query>.*)")
_HOST = re.compile(r"[\w.-]*|[0-9A-Fa-f:.]+(%[\w.-]+)?")
_MAX_SHOWN_CHARACTERS = 40


class UrlError(ValueError):
    """The URL is malformed or not supported; the error message says why, without the password."""


class UrlParts(RedactedStruct, frozen=True):
    """The parts of a URL; only the scheme and the parameters' names are checked."""

    scheme: str
    """The scheme, in lower case."""
    credentials: Annotated[str | None, msgspec.Meta(extra={"is_secret": True})]
    """The text between ``://`` and the last ``@``, still encoded; None without an ``@``."""
    username: Password
    """The credentials before the first colon, decoded; without a colon, all of them."""
    password: Password
    """The credentials after the first colon, decoded; empty without a colon."""
    hosts: str
    """The hosts with their ports, as one text."""
    path: str
    """The path, with the slash at its beginning, still encoded."""
    parameters: Annotated[Mapping[str, str], msgspec.Meta(extra={"is_secret": True})]
    """The parameters after the ``?``, decoded."""


def split_url(text: str, *, service: str, known: Mapping[str, tuple[str, ...]]) -> UrlParts:
    """Split a URL into its parts.

    Args:
        text: The URL.
        service: The name of the server software, for errors.
        known: Maps each valid scheme to the names of its valid parameters. Error messages list the
            schemes and the parameters in the order of ``known``.

    Raises:
        UrlError: The URL is malformed, or its scheme or a parameter is not known.
    """
    if not text.isprintable() or " " in text:
        raise UrlError(f"the {service} URL contains a space or a control character")
    if "#" in text:
        raise UrlError(f"the {service} URL contains a #; in a password, write it as %23")
    parts = _URL.fullmatch(text)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in known:
        *schemes, last = (f"{name}://" for name in known)
        raise UrlError(f"a {service} URL must begin with {', '.join(schemes)} or {last}")
    credentials, at, hosts = parts["netloc"].rpartition("@")
    username, _, password = (unquote(part) for part in credentials.partition(":"))
    return UrlParts(
        scheme=scheme,
        credentials=credentials if at else None,
        username=username,
        password=password,
        hosts=hosts,
        path=parts["path"],
        parameters=_parse_parameters(parts["query"], known[scheme], service),
    )


def _parse_parameters(query: str, known: tuple[str, ...], service: str) -> dict[str, str]:
    parameters = parse_qsl(query, keep_blank_values=True)
    unknown = next((name for name, _ in parameters if name not in known), None)
    if unknown is not None:
        if "@" in query:  # The query contains the rest of a password; an error must not show it.
            raise UrlError(
                f"the {service} URL has a ? before the @; in a password, write it as %3F"
            )
        # After a parameter with a password, the unknown name may be the rest of the password.
        if any("password" in name for name, _ in parameters):
            raise UrlError(
                f"the {service} URL has an unknown parameter; it may have {', '.join(known)}; "
                "in a password, write an & as %26"
            )
        raise UrlError(
            f"the {service} URL has an unknown parameter {unknown[:_MAX_SHOWN_CHARACTERS]!r}; "
            f"it may have {', '.join(known)}"
        )
    for name in known:
        if sum(name == given for given, _ in parameters) > 1:
            raise UrlError(f"the {service} URL has the parameter {name} twice")
    return dict(parameters)


def parse_address(text: str, default_port: int, *, service: str) -> Address:
    """Parse one host with or without a port.

    Args:
        text: The host and the port.
        default_port: The port if ``text`` names no port.
        service: The name of the server software, or the scheme, for errors.

    Returns:
        The host, which may be empty, and the port.

    Raises:
        UrlError: The host or the port is malformed.
    """
    malformed = UrlError(f"the host or the port of the {service} URL is malformed")
    try:
        host, port = parse_host_port(text, default_port)
    except ValueError:
        raise malformed from None
    if not _HOST.fullmatch(host):
        raise malformed
    return host, port


def parse_addresses(
    hosts: str, default_port: int, *, service: str, kind: str
) -> tuple[Address, ...]:
    """Parse one or more hosts that are separated by commas.

    Args:
        hosts: The hosts, each with or without a port.
        default_port: The port of each host that is given without a port.
        service: The name of the server software, or the scheme, for errors.
        kind: The word that error messages use for a host, such as "server".

    Raises:
        UrlError: A host is malformed, missing, or named twice.
    """
    addresses = tuple(
        parse_address(host, default_port, service=service) for host in hosts.split(",")
    )
    if not all(host for host, _ in addresses):
        raise UrlError(f"a {service} URL needs one or more hosts, separated by commas")
    if len(set(addresses)) < len(addresses):
        raise UrlError(f"the {service} URL names a {kind} twice")
    return addresses
