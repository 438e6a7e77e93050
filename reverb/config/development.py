"""The development app, which the server creates if no app is configured."""

import json
import secrets

from reverb.config.sources import ConfigurationError
from reverb.listening import endpoint_strings
from reverb.settings import Settings

_KEY_BYTES = 10
_SECRET_BYTES = 16
_MIN_ID = 100_000


def make_credentials() -> dict[str, str]:
    """Generate random credentials for an app.

    Returns:
        A dictionary with the id (6 digits), the key (20 lower-case hexadecimal digits)
        and the secret (32 lower-case hexadecimal digits).
    """
    return {
        "id": str(_MIN_ID + secrets.randbelow(9 * _MIN_ID)),
        "key": secrets.token_hex(_KEY_BYTES),
        "secret": secrets.token_hex(_SECRET_BYTES),
    }


def require_loopback(settings: Settings) -> None:
    """Refuse to serve the development app to other machines.

    Args:
        settings: The settings with the development app.

    Raises:
        ConfigurationError: An address to listen on is not a loopback address.
    """
    if settings.listen:
        exposed = [text for text in settings.listen if not endpoint_strings.is_local(text)]
    else:
        exposed = [host for host in (settings.host,) if not endpoint_strings.is_loopback(host)]
    if exposed:
        raise ConfigurationError(
            f"no app is configured, and the development app listens on loopback only, not on "
            f"{exposed[0]!r}: configure an app with --app-id, --app-key and --app-secret, with "
            "REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET, or with [[apps]] in the file "
            "given to --config"
        )


def development_banner(settings: Settings) -> str:
    """Return the text that shows a developer how to connect.

    Args:
        settings: The settings with the development app.

    Returns:
        Several lines, with the app's credentials and JavaScript that connects to the app.
    """
    app = settings.apps[0]
    connection = {
        **_address(settings),
        **({"wsPath": settings.path} if settings.path else {}),
        "enabledTransports": ["ws"],
        "cluster": "",
    }
    if "wsPort" not in connection and "wssPort" not in connection:
        hint = "Connect to it from JavaScript, with wsPort set to the port that you connect to:"
    else:
        hint = "Connect to it from JavaScript:"
    arguments = ", ".join(f"{name}: {json.dumps(value)}" for name, value in connection.items())
    return "\n".join(
        [
            "No app is configured, so this is a development app with new random credentials.",
            f"  app id:     {app.id}",
            f"  app key:    {app.key}",
            f"  app secret: {app.secret}",
            hint,
            '  import Pusher from "pusher-js";',
            f"  new Pusher({json.dumps(app.key)}, {{{arguments}}});",
        ]
    )


def _address(settings: Settings) -> dict[str, object]:
    """Return the pusher-js options with the address of the first endpoint that has a TCP port."""
    endpoints = [endpoint_strings.parse(text) for text in settings.endpoints]
    endpoint = next((endpoint for endpoint in endpoints if endpoint.port), None)
    if endpoint is None:
        # All endpoints are UNIX sockets. Clients connect to a proxy, whose port is not known.
        return {"wsHost": "127.0.0.1", "forceTLS": False}
    host = endpoint.named["interface"]
    secure = endpoint.kind in ("ssl", "tls")
    port = int(endpoint.port)
    return {
        "wsHost": f"[{host}]" if ":" in host else host,
        # With port 0, the system chooses the port later, so it is not known.
        **({"wssPort" if secure else "wsPort": port} if port else {}),
        "forceTLS": secure,
    }
