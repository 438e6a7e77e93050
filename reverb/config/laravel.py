"""Reads Laravel Reverb's Redis variables, so that a .env file of Laravel Reverb works unchanged."""

from collections.abc import Mapping
from urllib.parse import quote

from reverb.config.sources import BOOLEANS
from reverb.dotenv import VariableError, read_variable

# The schemes of Laravel's Redis clients, Predis and PhpRedis, and the schemes of Redis URLs.
_SCHEMES = {
    "redis": "redis",
    "tcp": "redis",
    "rediss": "rediss",
    "tls": "rediss",
    "ssl": "rediss",
}
_UNIX = "unix"


def redis_url_from_environment(environ: Mapping[str, str]) -> str | None:
    """Build a Redis URL from Laravel's environment variables.

    Args:
        environ: The environment. ``REVERB_SCALING_ENABLED`` turns Redis on. The address
            comes from ``REDIS_URL`` or, if that is not set, from ``REDIS_SCHEME``, ``REDIS_HOST``,
            ``REDIS_PORT``, ``REDIS_USERNAME``, ``REDIS_PASSWORD`` and ``REDIS_DB``.
            ``REVERB_SCALING_CHANNEL`` becomes the URL's query parameter ``prefix``.

    Returns:
        The URL, not validated; None if ``REVERB_SCALING_ENABLED`` is false or not set.

    Raises:
        VariableError: ``REVERB_SCALING_ENABLED`` is neither true nor false, ``REDIS_SCHEME`` is
            unknown, or the value of a variable is malformed.
    """
    if not _is_enabled(read_variable(environ, "REVERB_SCALING_ENABLED")):
        return None
    prefix = quote(read_variable(environ, "REVERB_SCALING_CHANNEL") or "reverb", safe="")
    if url := read_variable(environ, "REDIS_URL"):
        scheme, mark, rest = url.partition("://")
        separator = "&" if "?" in rest else "?"
        return f"{_SCHEMES.get(scheme.lower(), scheme)}{mark}{rest}{separator}prefix={prefix}"
    scheme, host = _scheme_and_host(environ)
    password = quote(read_variable(environ, "REDIS_PASSWORD"), safe="")
    user = quote(read_variable(environ, "REDIS_USERNAME"), safe="")
    credentials = f"{user}:{password}@" if password else ""
    database = read_variable(environ, "REDIS_DB") or "0"
    if scheme == _UNIX:
        return f"unix://{credentials}{quote(host)}?db={database}&prefix={prefix}"
    host = f"[{host}]" if ":" in host else host
    port = read_variable(environ, "REDIS_PORT") or "6379"
    return f"{scheme}://{credentials}{host}:{port}/{database}?prefix={prefix}"


def _is_enabled(text: str) -> bool:
    if text and text.lower() not in BOOLEANS:
        raise VariableError(f"REVERB_SCALING_ENABLED: expected true or false, got {text[:60]!r}")
    return BOOLEANS.get(text.lower(), False)


def _scheme_and_host(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the scheme of the URL, and the host or the path of a UNIX socket.

    Laravel accepts a host that begins with a scheme, such as ``tls://``, and PhpRedis a host that
    is the path of a UNIX socket.
    """
    given, _, host = (read_variable(environ, "REDIS_HOST") or "127.0.0.1").rpartition("://")
    if host.startswith("/"):
        return _UNIX, host
    variable = "REDIS_HOST" if given else "REDIS_SCHEME"
    given = given or read_variable(environ, "REDIS_SCHEME") or "redis"
    scheme = _SCHEMES.get(given.lower())
    if scheme is None:
        raise VariableError(
            f"{variable}: expected one of {', '.join(map(repr, _SCHEMES))} as the scheme, "
            f"got {given[:60]!r}"
        )
    return scheme, host
