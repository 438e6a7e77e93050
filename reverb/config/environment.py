"""Reads the environment, the source of the configuration that a Laravel application has too.

The server reads variables named ``REVERB_*`` and some of Laravel's other variables. An application
has variables of its own in the same environment, so an unknown name is no error.
:mod:`reverb.dotenv` reads the values.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from reverb import dotenv
from reverb.config import laravel
from reverb.config.sources import (
    APP_FIELDS,
    CREDENTIALS,
    SETTINGS_FIELDS,
    ConfigurationError,
    Overrides,
    Value,
    Values,
    convert_text,
    item_struct,
    pop_credentials,
)

# Laravel Reverb's variables for settings that it has too, so that its .env file works unchanged.
_LARAVEL_VARIABLES = {
    "host": "REVERB_SERVER_HOST",
    "port": "REVERB_SERVER_PORT",
    "path": "REVERB_SERVER_PATH",
    "redis": "REVERB_REDIS_URL",
    "max_request_bytes": "REVERB_MAX_REQUEST_SIZE",
    "max_message_bytes": "REVERB_APP_MAX_MESSAGE_SIZE",
    "client_events": "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM",
}
SETTINGS_VARIABLES = {
    name: _LARAVEL_VARIABLES.get(name, f"REVERB_{name.upper().replace('.', '_')}")
    for name in SETTINGS_FIELDS
}
APP_VARIABLES = {
    name: _LARAVEL_VARIABLES.get(name, f"REVERB_APP_{name.upper()}") for name in APP_FIELDS
}
PUSHER_VARIABLES = {name: f"PUSHER_APP_{name.upper()}" for name in CREDENTIALS}
"""The variables of Laravel's ``pusher`` broadcaster, for an application that still uses it."""
# Other names for fields of an app, which count where the field's own variable is not set.
_ALIASES = {"allowed_origins": "REVERB_ALLOWED_ORIGINS"}

# HOST, PORT and SCHEME are the address for Laravel's clients, not the one to listen on. Kubernetes
# adds the variables of the last lines to each pod for a Service named reverb or reverb-*.
_IGNORED_VARIABLES = re.compile(
    r"REVERB_(HOST|PORT|SCHEME|SERVER|LOG_LEVEL|(SCALING|PULSE|TELESCOPE)_\w+"
    r"|APP_RATE_LIMITING_ENABLED|APP_RATE_LIMIT_\w+"
    r"|(\w+_)?SERVICE_HOST|(\w+_)?SERVICE_PORT(_\w+)?"
    r"|(\w+_)?PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)"
)


def read_environment(environ: Mapping[str, str]) -> Overrides:
    """Read the ``REVERB_*`` environment variables.

    Args:
        environ: The environment. When ``REVERB_SCALING_ENABLED`` is true and
            ``REVERB_REDIS_URL`` is not set, Laravel's ``REDIS_*`` variables are read as well.

    Returns:
        The values of the variables that are set. A variable that is empty or ``null`` counts
        as not set. Unknown variables are ignored.

    Raises:
        ConfigurationError: The value of a variable is invalid.
    """
    settings = _read_variables(environ, SETTINGS_VARIABLES, SETTINGS_FIELDS)
    app = _read_variables(environ, APP_VARIABLES, APP_FIELDS)
    missing = {name: variable for name, variable in _ALIASES.items() if name not in app}
    app |= _read_variables(environ, missing, APP_FIELDS)
    if "redis" not in settings:
        settings |= _read_laravel_redis(environ)
    credentials = pop_credentials(app, APP_VARIABLES)
    return Overrides(settings=settings, credentials=credentials, app=app)


def read_pusher_credentials(environ: Mapping[str, str]) -> Values:
    """Read the credentials of an app from ``PUSHER_APP_ID``, ``_KEY`` and ``_SECRET``.

    Args:
        environ: The environment.

    Returns:
        The id, key and secret; empty if none of the variables is set.

    Raises:
        ConfigurationError: The value of a variable is invalid, or not all three are set.
    """
    return pop_credentials(_read_variables(environ, PUSHER_VARIABLES, APP_FIELDS), PUSHER_VARIABLES)


def describe_unknown(environ: Mapping[str, str]) -> str | None:
    """Describe the ``REVERB_*`` variables that the server does not know.

    Args:
        environ: The environment.

    Returns:
        A sentence that names the variables in alphabetical order, each with the known variable
        that is most similar; None if all are known.
    """
    known = {*SETTINGS_VARIABLES.values(), *APP_VARIABLES.values(), *_ALIASES.values()}
    unknown = sorted(
        name
        for name in environ
        if name.startswith("REVERB_")
        and name not in known
        and not _IGNORED_VARIABLES.fullmatch(name)
    )
    if not unknown:
        return None
    return f"ignored unknown environment variables: {', '.join(map(_with_suggestion, unknown))}"


def _read_variables(
    environ: Mapping[str, str], variables: Mapping[str, str], fields: Mapping[str, Any]
) -> Values:
    """Read the variables that are set; ``variables`` and ``fields`` are by the fields' names."""
    values: Values = {}
    for name, variable in sorted(variables.items(), key=lambda item: item[1]):
        text = _read_text(environ, variable, fields[name])
        if text:
            values[name] = convert_text(text, fields[name], variable)
    return values


def _read_text(environ: Mapping[str, str], variable: str, kind: Any) -> str:
    raw = environ.get(variable, "").strip()
    if item_struct(kind) is not None and raw.startswith("["):
        return raw  # JSON, in which quotes and # have another meaning than in a .env file.
    try:
        return dotenv.read_variable(environ, variable)
    except dotenv.VariableError as error:
        raise ConfigurationError(str(error)) from None


def _read_laravel_redis(environ: Mapping[str, str]) -> Values:
    """Return the setting ``redis`` from Laravel's variables; an empty dict if Redis is off."""
    try:
        url = laravel.redis_url_from_environment(environ)
    except dotenv.VariableError as error:
        raise ConfigurationError(str(error)) from None
    return {"redis": Value(url, "REVERB_SCALING_ENABLED with REDIS_*")} if url else {}


def _with_suggestion(variable: str) -> str:
    """Return an unknown variable with the known variable that is most similar, if there is one.

    The function compares the unknown name with the variables' names and with the settings' names.
    """
    variables = {name.upper(): variable for name, variable in SETTINGS_VARIABLES.items()}
    variables |= {f"APP_{name.upper()}": variable for name, variable in APP_VARIABLES.items()}
    variables |= {known.removeprefix("REVERB_"): known for known in variables.values()}
    close = difflib.get_close_matches(variable.removeprefix("REVERB_"), list(variables), n=1)
    shown = variable if variable.isprintable() and variable.isascii() else ascii(variable)
    return f"{shown} (did you mean {variables[close[0]]}?)" if close else shown
