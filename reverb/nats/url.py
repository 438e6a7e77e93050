"""Parses NATS URLs: the servers, the credentials and the prefix.

The forms are ``nats://user:password@host:4222?prefix=myapp``, ``tls://`` for
TLS, ``nats://token@host``, and, for several servers of one cluster,
``nats://user:password@nats1:4222,nats2:4222``.
"""

import re
from urllib.parse import parse_qsl, unquote

import msgspec

from reverb.host_port import Address, format_host_port, parse_host_port

DEFAULT_PORT = 4222
DEFAULT_PREFIX = "reverb"
# A pattern, because urlsplit supports one host only.
_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<netloc>[^/?]*)(?P<path>[^?]*)\??(?P<query>.*)")
# What NATS accepts: no token of a subject may be empty.
_PREFIX = re.compile(r"(?=.{1,100}\Z)[-0-9A-Z_a-z]+(\.[-0-9A-Z_a-z]+)*")


class NatsUrlError(ValueError):
    """The URL cannot be used; the text says why, without the password."""


class NatsUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed NATS URL."""

    tls: bool = False
    """Whether TLS is required: a server that offers none is refused."""
    servers: tuple[Address, ...]
    """The servers of one NATS cluster; a node connects to one of them at a time."""
    username: str = ""
    password: str = ""
    token: str = ""
    """The token with which to log in, instead of a user and a password."""
    prefix: str = DEFAULT_PREFIX
    """The beginning of every subject."""

    @property
    def scheme(self) -> str:
        """``tls`` or ``nats``."""
        return "tls" if self.tls else "nats"

    @property
    def redacted(self) -> str:
        """The URL without user, password and token, for the log."""
        servers = ",".join(format_host_port(*server) for server in self.servers)
        return f"{self.scheme}://{servers}"


def parse_nats_url(text: str) -> NatsUrl:
    """Parse a NATS URL.

    Raises:
        NatsUrlError: The URL cannot be used.
    """
    if not text.isprintable() or " " in text:
        raise NatsUrlError("the NATS URL contains a space or a control character")
    if "#" in text:
        raise NatsUrlError("the NATS URL contains a #; in a password, write it as %23")
    parts = _URL.fullmatch(text)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in ("nats", "tls"):
        raise NatsUrlError("a NATS URL must begin with nats:// or tls://")
    if parts["path"].strip("/"):
        raise NatsUrlError("the NATS URL has a path; write the prefix as ?prefix=myapp")
    credentials, at, hosts = parts["netloc"].rpartition("@")
    username, colon, password = (unquote(part) for part in credentials.partition(":"))
    if at and not (username and password if colon else username):
        raise NatsUrlError("the NATS URL needs a user and a password, or a token, before the @")
    return NatsUrl(
        tls=scheme == "tls",
        servers=_parse_servers(hosts),
        username=username if colon else "",
        password=password,
        token="" if colon else username,
        prefix=_parse_prefix(parts["query"]),
    )


def _parse_servers(hosts: str) -> tuple[Address, ...]:
    servers = tuple(_parse_address(host) for host in hosts.split(","))
    if not all(host for host, _ in servers):
        raise NatsUrlError("a NATS URL needs one or more hosts, separated by commas")
    if len(set(servers)) < len(servers):
        raise NatsUrlError("the NATS URL names a server twice")
    return servers


def _parse_address(text: str) -> Address:
    try:
        return parse_host_port(text, DEFAULT_PORT)
    except ValueError:
        raise NatsUrlError("the host or the port of the NATS URL is malformed") from None


def _parse_prefix(query: str) -> str:
    parameters = parse_qsl(query, keep_blank_values=True)
    for name, _ in parameters:
        if name != "prefix":
            raise NatsUrlError(
                f"the NATS URL has an unknown parameter {name[:40]!r}; it may have prefix"
            )
    if len(parameters) > 1:
        raise NatsUrlError("the NATS URL has the parameter prefix twice")
    prefix = dict(parameters).get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise NatsUrlError(
            "the prefix of the NATS URL must be 1 to 100 characters: letters, digits, - and _, "
            "and single dots between them"
        )
    return prefix
