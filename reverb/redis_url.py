"""Where Redis is, and as whom to speak to it: one URL.

``redis://user:password@host:6379/0?prefix=myapp``, ``rediss://`` for TLS, or
``unix://user:password@/run/redis.sock?db=0&prefix=myapp``.
"""

import re
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

DEFAULT_PORT = 6379
DEFAULT_PREFIX = "reverb"
_PREFIX = re.compile(r"[-.0-9A-Z_a-z]{1,100}")
_DATABASE = re.compile(r"[0-9]{1,5}")
_PARAMETERS = {"redis": ("prefix",), "rediss": ("prefix",), "unix": ("prefix", "db")}


class RedisUrlError(ValueError):
    """The URL cannot be used; the text says why, and shows no password."""


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A URL, taken apart."""

    scheme: str
    """``redis``, ``rediss`` or ``unix``."""
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    """Of the socket, with ``unix``."""
    username: str = ""
    password: str = ""
    database: int = 0
    prefix: str = DEFAULT_PREFIX
    """Begins every key and every channel name in Redis."""

    @property
    def shown(self) -> str:
        """The URL for the log: without the user and the password."""
        if self.scheme == "unix":
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"


def parse_redis_url(text: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        RedisUrlError: It cannot be used.
    """
    if not text.isprintable() or " " in text:
        raise RedisUrlError("a Redis URL has no spaces and no control characters")
    if "#" in text:
        raise RedisUrlError("a Redis URL has no #; write it as %23 in a password")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RedisUrlError("the host or the port of the Redis URL is malformed") from None
    if parts.scheme not in _PARAMETERS:
        raise RedisUrlError("a Redis URL begins with redis://, rediss:// or unix://")
    query = _parameters(parts)
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if username and not password:
        raise RedisUrlError("the Redis URL has a user but no password")
    prefix = query.get("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise RedisUrlError(
            "the prefix of the Redis URL must be 1 to 100 letters, digits and the characters - . _"
        )
    is_unix = parts.scheme == "unix"
    if is_unix and (parts.hostname or port is not None):
        raise RedisUrlError("a unix:// URL has no host: three slashes come before the path")
    if is_unix and not parts.path.strip("/"):
        raise RedisUrlError("the unix:// URL has no path of a socket")
    if not is_unix and not parts.hostname:
        raise RedisUrlError("the Redis URL has no host")
    database = query.get("db", "0") if is_unix else parts.path.removeprefix("/") or "0"
    return RedisUrl(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=DEFAULT_PORT if port is None else port,
        path=unquote(parts.path) if is_unix else "",
        username=username,
        password=password,
        database=_database(database),
        prefix=prefix,
    )


def _parameters(parts: SplitResult) -> dict[str, str]:
    known = _PARAMETERS[parts.scheme]
    parameters = parse_qsl(parts.query, keep_blank_values=True)
    for name, _ in parameters:
        if name not in known:
            raise RedisUrlError(
                f"the Redis URL has an unknown parameter {name[:40]!r}; "
                f"it may have {' and '.join(known)}"
            )
    if len(dict(parameters)) < len(parameters):
        raise RedisUrlError("the Redis URL has a parameter twice")
    return dict(parameters)


def _database(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise RedisUrlError("the database of the Redis URL must be a number, such as /0")
    return int(text)
