"""Laravel Reverb's way to say where Redis is, so that its .env works here too."""

from collections.abc import Mapping
from urllib.parse import quote

_TRUE = ("true", "1", "yes", "on", "(true)")
_FALSE = ("false", "0", "no", "off", "(false)", "empty", "(empty)")
_UNSET = ("", "null", "(null)")
_SCHEMES = {"tcp": "redis", "tls": "rediss"}


def url_of(environ: Mapping[str, str]) -> str | None:
    """Make a Redis URL of Laravel's variables.

    Args:
        environ: The environment. ``REVERB_SCALING_ENABLED`` says whether
            ``REDIS_URL``, or else ``REDIS_HOST``, ``REDIS_PORT``,
            ``REDIS_USERNAME``, ``REDIS_PASSWORD`` and ``REDIS_DB``, are used;
            ``REVERB_SCALING_CHANNEL`` becomes the prefix.

    Returns:
        The URL, not checked; None without scaling.

    Raises:
        ValueError: ``REVERB_SCALING_ENABLED`` is neither true nor false.
    """
    enabled = environ.get("REVERB_SCALING_ENABLED", "")
    if enabled.strip().lower() not in _TRUE:
        if enabled.strip().lower() not in (*_FALSE, *_UNSET):
            raise ValueError(f"expected true or false, got {enabled[:60]!r}")
        return None

    def given(name: str, default: str = "") -> str:
        text = environ.get(name, "").strip()
        return default if text.lower() in _UNSET else text

    prefix = quote(given("REVERB_SCALING_CHANNEL", "reverb"), safe="")
    if url := given("REDIS_URL"):
        scheme, mark, rest = url.partition("://")
        more = "&" if "?" in rest else "?"
        return f"{_SCHEMES.get(scheme, scheme)}{mark}{rest}{more}prefix={prefix}"
    # Laravel takes a host with tls:// in front.
    scheme, _, host = given("REDIS_HOST", "127.0.0.1").rpartition("://")
    user, password = (quote(given(f"REDIS_{name}"), safe="") for name in ("USERNAME", "PASSWORD"))
    who = f"{user}:{password}@" if password else ""
    host = f"[{host}]" if ":" in host else host
    port, database = given("REDIS_PORT", "6379"), given("REDIS_DB", "0")
    scheme = _SCHEMES.get(scheme, scheme or "redis")
    return f"{scheme}://{who}{host}:{port}/{database}?prefix={prefix}"
