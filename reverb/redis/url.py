"""Parses Redis URLs: the address, the credentials, the database and the prefix.

The forms are:

- ``redis://user:password@host:6379/0?prefix=myapp``;
- ``unix://user:password@/run/redis.sock?db=0&prefix=myapp``;
- ``redis+sentinel://user:password@sentinel1:26379,sentinel2:26379/mymaster/0``, with sentinels that
  name the master;
- with TLS, ``rediss://`` and ``rediss+sentinel://``.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from reverb.host_port import Address, format_host_port, parse_host_port

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
DEFAULT_PREFIX = "reverb"
# A pattern, because urlsplit supports one host only.
_URL = re.compile(r"(?P<scheme>[A-Za-z+]+)://(?P<netloc>[^/?]*)(?P<path>[^?]*)\??(?P<query>.*)")
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


class RedisUrlError(ValueError):
    """The URL is malformed or not supported; the text says why, without the password."""


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed Redis URL."""

    scheme: str
    """``redis``, ``rediss``, ``unix``, ``redis+sentinel`` or ``rediss+sentinel``."""
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    """The socket's path; empty unless the scheme is ``unix``."""
    username: str = ""
    password: str = ""
    database: int = 0
    prefix: str = DEFAULT_PREFIX
    """The beginning of every key and every channel's name in Redis."""
    sentinels: tuple[Address, ...] = ()
    """The sentinels' addresses. If there are any, ``host`` and ``port`` are not used."""
    master: str = ""
    """The name by which the sentinels know the master."""
    sentinel_user: str = ""
    sentinel_password: str = ""

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
        RedisUrlError: The URL is malformed or not supported.
    """
    if not text.isprintable() or " " in text:
        raise RedisUrlError("the Redis URL contains a space or a control character")
    if "#" in text:
        raise RedisUrlError("the Redis URL contains a #; in a password, write it as %23")
    parts = _URL.fullmatch(text)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in _PARAMETERS:
        raise RedisUrlError(
            "a Redis URL must begin with redis://, rediss://, unix://, redis+sentinel:// "
            "or rediss+sentinel://"
        )
    query = _parse_parameters(parts["query"], _PARAMETERS[scheme])
    prefix = query.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise RedisUrlError(
            "the prefix of the Redis URL must be 1 to 100 letters, digits and the characters - . _"
        )
    credentials, _, hosts = parts["netloc"].rpartition("@")
    username, _, password = (unquote(part) for part in credentials.partition(":"))
    if username and not password:
        raise RedisUrlError("the Redis URL has a user but no password")
    parsers = {"unix": _parse_unix, "redis": _parse_tcp, "rediss": _parse_tcp}
    return RedisUrl(
        scheme=scheme,
        username=username,
        password=password,
        prefix=prefix,
        **parsers.get(scheme, _parse_sentinels)(hosts, parts["path"], query),
    )


def _parse_unix(hosts: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    if hosts:
        raise RedisUrlError("the unix:// URL names a host; write three slashes before the path")
    if not path.strip("/"):
        raise RedisUrlError("the unix:// URL has no socket path")
    return {"path": unquote(path), "database": _parse_database(query.get("db", "0"))}


def _parse_tcp(hosts: str, path: str, _query: dict[str, str]) -> dict[str, Any]:
    if "," in hosts:
        raise RedisUrlError("only a redis+sentinel:// URL may have several hosts")
    host, port = _parse_address(hosts, DEFAULT_PORT)
    if not host:
        raise RedisUrlError("the Redis URL has no host")
    return {"host": host, "port": port, "database": _parse_database(path.removeprefix("/") or "0")}


def _parse_sentinels(hosts: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    sentinels = tuple(_parse_address(host, DEFAULT_SENTINEL_PORT) for host in hosts.split(","))
    if not all(host for host, _ in sentinels):
        raise RedisUrlError("a redis+sentinel:// URL needs one or more hosts, separated by commas")
    if len(set(sentinels)) < len(sentinels):
        raise RedisUrlError("the redis+sentinel:// URL names a sentinel twice")
    master, _, database = path.removeprefix("/").partition("/")
    if not _MASTER.fullmatch(master):
        raise RedisUrlError(
            "a redis+sentinel:// URL needs the name of the master after the hosts, such as "
            "/mymaster: letters, digits and the characters - . _"
        )
    user, password = query.get("sentinel_user", ""), query.get("sentinel_password", "")
    if user and not password:
        raise RedisUrlError("the Redis URL has a sentinel_user but no sentinel_password")
    return {
        "sentinels": sentinels,
        "master": master,
        "database": _parse_database(database or "0"),
        "sentinel_user": user,
        "sentinel_password": password,
    }


def _parse_address(text: str, default_port: int) -> Address:
    try:
        return parse_host_port(text, default_port)
    except ValueError:
        raise RedisUrlError("the host or the port of the Redis URL is malformed") from None


def _parse_parameters(query: str, known: tuple[str, ...]) -> dict[str, str]:
    parameters = parse_qsl(query, keep_blank_values=True)
    for name, _ in parameters:
        if name not in known:
            raise RedisUrlError(
                f"the Redis URL has an unknown parameter {name[:40]!r}; "
                f"it may have {', '.join(known)}"
            )
    if len(dict(parameters)) < len(parameters):
        raise RedisUrlError("the Redis URL has a parameter twice")
    return dict(parameters)


def _parse_database(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise RedisUrlError("the database of the Redis URL must be a number, such as /0")
    return int(text)
