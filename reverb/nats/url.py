"""Parses NATS URLs: the servers, the credentials and the prefix.

The forms are ``nats://user:password@host:4222?prefix=myapp``, ``tls://`` for
TLS, ``nats://token@host``, and, for several servers of one cluster,
``nats://user:password@nats1:4222,nats2:4222``.
"""

import re

from reverb.brokers.url import UrlError, parse_addresses, split_url
from reverb.host_port import Address, format_host_port
from reverb.redaction import Password, RedactedStruct

DEFAULT_PORT = 4222
DEFAULT_PREFIX = "reverb"
_PARAMETERS = {"nats": ("prefix",), "tls": ("prefix",)}
# What NATS accepts: no token of a subject may be empty.
_PREFIX = re.compile(r"(?=.{1,100}\Z)[-0-9A-Z_a-z]+(\.[-0-9A-Z_a-z]+)*")


class NatsUrl(RedactedStruct, frozen=True, kw_only=True):
    """A parsed NATS URL."""

    tls: bool = False
    """Whether TLS is required: a NATS server that offers no TLS is refused."""
    servers: tuple[Address, ...]
    """The servers of one NATS cluster; a node connects to one of them at a time."""
    username: str = ""
    password: Password = ""
    token: Password = ""
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
        UrlError: The URL is malformed or not supported.
    """
    parts = split_url(text, service="NATS", known=_PARAMETERS)
    if parts.path.strip("/"):
        raise UrlError("the NATS URL has a path; write the prefix as ?prefix=myapp")
    prefix = parts.parameters.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise UrlError(
            "the prefix of the NATS URL must be 1 to 100 characters: letters, digits, - and _, "
            "and single dots between them"
        )
    has_user = ":" in (parts.credentials or "")
    if parts.credentials is not None and not (parts.username and (parts.password or not has_user)):
        raise UrlError("the NATS URL needs a user and a password, or a token, before the @")
    return NatsUrl(
        tls=parts.scheme == "tls",
        servers=parse_addresses(parts.hosts, DEFAULT_PORT, service="NATS", kind="server"),
        username=parts.username if has_user else "",
        password=parts.password,
        token="" if has_user else parts.username,
        prefix=prefix,
    )
