"""Reads Laravel Reverb's Redis variables, so that a .env file of Laravel Reverb works unchanged."""

from collections.abc import Mapping
from urllib.parse import quote

_TRUE = ("true", "1", "yes", "on", "(true)")
_FALSE = ("false", "0", "no", "off", "(false)", "empty", "(empty)")
_UNSET = ("", "null", "(null)")
_SCHEMES = {"tcp": "redis", "tls": "rediss"}


def redis_url_from_environment(environ: Mapping[str, str]) -> str | None:
    """Build a Redis URL from Laravel's environment variables.

    Args:
        environ: The environment. ``REVERB_SCALING_ENABLED`` turns Redis on. The address
            comes from ``REDIS_URL`` or, if that is not set, from ``REDIS_HOST``, ``REDIS_PORT``,
            ``REDIS_USERNAME``, ``REDIS_PASSWORD`` and ``REDIS_DB``.
            ``REVERB_SCALING_CHANNEL`` becomes the URL's query parameter ``prefix``.

    Returns:
        The URL, not validated; None if ``REVERB_SCALING_ENABLED`` is false or not set.

    Raises:
        ValueError: ``REVERB_SCALING_ENABLED`` is neither true nor false.
    """
    enabled = environ.get("REVERB_SCALING_ENABLED", "")
    if enabled.strip().lower() not in _TRUE:
        if enabled.strip().lower() not in (*_FALSE, *_UNSET):
            raise ValueError(f"expected true or false, got {enabled[:60]!r}")
        return None

    def read(name: str, default: str = "") -> str:
        text = environ.get(name, "").strip()
        return default if text.lower() in _UNSET else text

    prefix = quote(read("REVERB_SCALING_CHANNEL", "reverb"), safe="")
    if url := read("REDIS_URL"):
        scheme, mark, rest = url.partition("://")
        separator = "&" if "?" in rest else "?"
        return f"{_SCHEMES.get(scheme, scheme)}{mark}{rest}{separator}prefix={prefix}"
    # Laravel accepts a host that begins with a scheme, such as tls://.
    scheme, _, host = read("REDIS_HOST", "127.0.0.1").rpartition("://")
    user, password = (quote(read(f"REDIS_{name}"), safe="") for name in ("USERNAME", "PASSWORD"))
    credentials = f"{user}:{password}@" if password else ""
    host = f"[{host}]" if ":" in host else host
    port, database = read("REDIS_PORT", "6379"), read("REDIS_DB", "0")
    scheme = _SCHEMES.get(scheme, scheme or "redis")
    return f"{scheme}://{credentials}{host}:{port}/{database}?prefix={prefix}"
