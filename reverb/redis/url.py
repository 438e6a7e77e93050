"""Parses Redis URLs: the address, the credentials, the database and the prefix.

The forms are:

- ``redis://user:password@host:6379/0?prefix=myapp`` for Redis at a host and a port.
- ``unix://user:password@/run/redis.sock?db=0&prefix=myapp`` for Redis on a Unix socket.
- ``redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/mymaster/0`` for the master that
  the sentinels name.
- ``rediss://`` and ``rediss+sentinel://`` for connections with TLS.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from reverb.brokers.url import UrlError, parse_address, parse_addresses, split_url
from reverb.host_port import Address, format_host_port
from reverb.redaction import Password, RedactedStruct

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
DEFAULT_PREFIX = "reverb"
_PREFIX = re.compile(r"[-.0-9A-Z_a-z]{1,100}")
_MASTER = re.compile(r"[-.0-9A-Z_a-z]+")
_DATABASE = re.compile(r"[0-9]{1,5}")
_SENTINEL_PARAMETERS = ("prefix", "sentinel_user", "sentinel_password")
_PARAMETERS = {
    "redis": ("prefix",),
    "rediss": ("prefix",),
    "unix": ("prefix", "db"),
    "redis+sentinel": _SENTINEL_PARAMETERS,
    "rediss+sentinel": _SENTINEL_PARAMETERS,
}


class RedisUrl(RedactedStruct, frozen=True, kw_only=True):
    """A parsed Redis URL."""

    scheme: str
    """``redis``, ``rediss``, ``unix``, ``redis+sentinel`` or ``rediss+sentinel``."""
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    """The socket's path; empty unless the scheme is ``unix``."""
    username: str = ""
    password: Password = ""
    database: int = 0
    prefix: str = DEFAULT_PREFIX
    """The beginning of every key and every channel's name in Redis."""
    sentinels: tuple[Address, ...] = ()
    """The sentinels' addresses. If there are any, ``host`` and ``port`` are not used."""
    master: str = ""
    """The name by which the sentinels know the master."""
    sentinel_user: str = ""
    sentinel_password: Password = ""

    @property
    def tls(self) -> bool:
        """Whether all connections, also those to sentinels, are encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def redacted(self) -> str:
        """The URL without the credentials and the prefix, for the log."""
        if self.scheme == "unix":
            return f"unix://{self.path}?db={self.database}"
        if self.sentinels:
            sentinels = ",".join(format_host_port(*sentinel) for sentinel in self.sentinels)
            return f"{self.scheme}://{sentinels}/{self.master}/{self.database}"
        return f"{self.scheme}://{format_host_port(self.host, self.port)}/{self.database}"


def parse_redis_url(text: str) -> RedisUrl:
    """Parse a Redis URL.

    Raises:
        UrlError: The URL is malformed or not supported.
    """
    parts = split_url(text, service="Redis", known=_PARAMETERS)
    prefix = parts.parameters.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise UrlError(
            "the prefix of the Redis URL must be 1 to 100 letters, digits and the characters - . _"
        )
    if parts.username and not parts.password:
        raise UrlError("the Redis URL has a user but no password")
    parsers = {"unix": _parse_unix, "redis": _parse_tcp, "rediss": _parse_tcp}
    parse = parsers.get(parts.scheme, _parse_sentinels)
    return RedisUrl(
        scheme=parts.scheme,
        username=parts.username,
        password=parts.password,
        prefix=prefix,
        **parse(parts.hosts, parts.path, parts.parameters),
    )


def _parse_unix(hosts: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    if hosts:
        raise UrlError("the unix:// URL names a host; write three slashes before the path")
    if not path.strip("/"):
        raise UrlError("the unix:// URL has no socket path")
    return {"path": unquote(path), "database": _parse_database(query.get("db", "0"))}


def _parse_tcp(hosts: str, path: str, _query: Mapping[str, str]) -> dict[str, Any]:
    if "," in hosts:
        raise UrlError("only a redis+sentinel:// URL may have several hosts")
    host, port = parse_address(hosts, DEFAULT_PORT, service="Redis")
    if not host:
        raise UrlError("the Redis URL has no host")
    return {"host": host, "port": port, "database": _parse_database(path.removeprefix("/") or "0")}


def _parse_sentinels(hosts: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    sentinels = parse_addresses(
        hosts, DEFAULT_SENTINEL_PORT, service="redis+sentinel://", kind="sentinel"
    )
    master, _, database = path.removeprefix("/").partition("/")
    if not _MASTER.fullmatch(master):
        raise UrlError(
            "a redis+sentinel:// URL needs the name of the master after the hosts, such as "
            "/mymaster: letters, digits and the characters - . _"
        )
    user, password = query.get("sentinel_user", ""), query.get("sentinel_password", "")
    if user and not password:
        raise UrlError("the Redis URL has a sentinel_user but no sentinel_password")
    return {
        "sentinels": sentinels,
        "master": master,
        "database": _parse_database(database or "0"),
        "sentinel_user": user,
        "sentinel_password": password,
    }


def _parse_database(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise UrlError("the database of the Redis URL must be a number, such as /0")
    return int(text)
