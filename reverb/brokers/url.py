"""What the URLs of Redis and NATS have in common: their parts, and the checks of these.

A URL is ``SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?NAME=VALUE``. No error shows a password.
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
_MAX_SHOWN_CHARACTERS = 40


class UrlError(ValueError):
    """The URL is malformed or not supported; the text says why, without the password."""


class UrlParts(RedactedStruct, frozen=True):
    """The parts of a URL; only the scheme and the parameters' names are checked."""

    scheme: str
    """The scheme, in lower case."""
    credentials: Annotated[str | None, msgspec.Meta(extra={"is_secret": True})]
    """The text before the ``@``, still encoded; None if there is no ``@``."""
    username: Password
    """The part of the credentials before the colon, decoded."""
    password: Password
    """The part of the credentials after the colon, decoded."""
    hosts: str
    """The hosts with their ports."""
    path: str
    """The path, with the slash at its beginning, still encoded."""
    parameters: Annotated[Mapping[str, str], msgspec.Meta(extra={"is_secret": True})]
    """The parameters after the ``?``, decoded."""


def split_url(text: str, *, service: str, known: Mapping[str, tuple[str, ...]]) -> UrlParts:
    """Split a URL into its parts.

    Args:
        text: The URL.
        service: The name of the server software, for errors.
        known: The schemes that the service has, in the order in which an error names them, each
            with the names of the parameters that it may have.

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
        if "@" in query:  # The query is the rest of the password; an error must not show it.
            raise UrlError(
                f"the {service} URL has a ? before the @; in a password, write it as %3F"
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
    """Parse one host with its port; the host may be empty.

    Raises:
        UrlError: The host or the port is malformed.
    """
    try:
        return parse_host_port(text, default_port)
    except ValueError:
        raise UrlError(f"the host or the port of the {service} URL is malformed") from None


def parse_addresses(
    hosts: str, default_port: int, *, service: str, kind: str
) -> tuple[Address, ...]:
    """Parse one or more hosts, which commas separate.

    Args:
        hosts: The text.
        default_port: The port of each host that names none.
        service: The name of the server software, or the scheme, for errors.
        kind: What each host is, for errors, as "server".

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
