"""Builds the settings from defaults, the file, the environment and the command line.

The command line overrides the environment, the environment overrides the file, and the file
overrides the defaults. :mod:`reverb.config.sources` reads the file and the command line,
:mod:`reverb.config.environment` reads the environment. This module merges the values of all
sources, and rejects values that contradict each other.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import msgspec

from reverb.apps import DEFAULT_EVENT_BYTES, App
from reverb.config import development
from reverb.config.environment import (
    describe_unknown,
    read_environment,
    read_pusher_credentials,
)
from reverb.config.sources import (
    CREDENTIALS,
    SETTINGS_OPTIONS,
    ConfigurationError,
    FileValues,
    Overrides,
    Value,
    Values,
    read_file,
    read_options,
)
from reverb.listening import endpoint_check, endpoint_strings
from reverb.nats.url import parse_nats_url
from reverb.redis.url import parse_redis_url
from reverb.settings import Settings, normalize_path
from reverb.transport.client_address import ClientAddresses
from reverb.validation import find_duplicate

__all__ = ["Configuration", "ConfigurationError", "load"]

T = TypeVar("T", bound=msgspec.Struct)


class _Library(NamedTuple):
    """An optional library that only some settings need."""

    module: str
    package: str
    extra: str
    """The extra of the package ``reverb`` that installs the library."""


_REDIS = (
    _Library("txredisapi", "txredisapi", "redis"),
    _Library("hiredis", "hiredis", "redis"),
)
_NATS = (_Library("nats", "nats-py", "nats"),)


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that :func:`load` builds from all sources."""

    settings: Settings
    """All settings of this node."""
    is_development: bool
    """Whether the only app is the development app, because no app was configured."""
    warning: str | None = None
    """A sentence about the environment for the operator; None if there is nothing to say."""


def load(
    *, options: Mapping[str, object], environ: Mapping[str, str], config_path: str | None
) -> Configuration:
    """Build the settings from all sources.

    Args:
        options: The command line's options by name, such as ``app-id``; see
            :func:`reverb.config.sources.read_options`.
        environ: The environment.
        config_path: Path of the TOML file; None for no file.

    Returns:
        The configuration, with at least one app.

    Raises:
        ConfigurationError: A source is invalid, values contradict each other, or a setting
            needs a library that is not installed.
    """
    file = read_file(config_path) if config_path is not None else FileValues({}, {}, [])
    environment = read_environment(environ)
    command_line = read_options(options)
    values = file.settings | environment.settings | command_line.settings
    _check_addresses(values, command_line)
    _check_metrics_addresses(values)
    _check_url(values, "redis", parse_redis_url, _REDIS)
    _check_url(values, "broker", parse_nats_url, _NATS)
    _check_workers(values)
    _check_trusted_proxies(values)
    _normalize_path(values)
    apps = _merge_apps(file, environment, command_line)
    _check_complete(apps[: len(file.apps)], f"{config_path}: ")
    credentials = {} if apps else read_pusher_credentials(environ)
    is_development = not apps and not credentials
    if not apps:
        credentials = credentials or _development_credentials()
        apps = [file.app_defaults | environment.app | credentials]
    apps = [_default_event_size(app) for app in apps]
    _check_distinct(apps)
    _check_webhooks(apps)
    all_apps = tuple(_build(App, app) for app in apps)
    settings = _build(Settings, values | {"apps": Value(all_apps, "")})
    if is_development:
        development.require_loopback(settings)
    return Configuration(
        settings=settings, is_development=is_development, warning=describe_unknown(environ)
    )


def _merge_apps(file: FileValues, environment: Overrides, command_line: Overrides) -> list[Values]:
    """Return the apps of the file, and the app that the environment or the command line gives.

    The environment overrides fields of all apps. If an app in the file has the same id as the app
    given outside the file, the two are one app, with the credentials given outside the file.
    """
    apps = [file.app_defaults | app | environment.app for app in file.apps]
    credentials = command_line.credentials or environment.credentials
    if not credentials:
        return apps
    for app in apps:
        if "id" in app and app["id"].value == credentials["id"].value:
            app.update(credentials)
            return apps
    return [*apps, file.app_defaults | environment.app | credentials]


def _default_event_size(app: Values) -> Values:
    """Let the app's server publish what the app's clients may send, if only that limit is raised.

    Laravel Reverb has one limit for both, ``REVERB_APP_MAX_MESSAGE_SIZE``.
    """
    message = app.get("max_message_bytes")
    if "max_event_bytes" in app or message is None:
        return app
    size = max(message.value, DEFAULT_EVENT_BYTES) if message.value else 0
    return app | {"max_event_bytes": Value(size, message.origin)}


def _check_complete(apps: list[Values], prefix: str) -> None:
    for index, app in enumerate(apps):
        for name in CREDENTIALS:
            if name not in app:
                raise ConfigurationError(f"{prefix}apps[{index}].{name}: missing")


def _check_distinct(apps: list[Values]) -> None:
    """Reject two apps with the same id or key."""
    for name in ("id", "key"):
        if duplicate := find_duplicate(app[name].value for app in apps):
            again, first = (apps[index][name] for index in duplicate)
            raise ConfigurationError(
                f"{again.origin}: {again.value!r} is already the {name} of the app at "
                f"{first.origin}"
            )


def _check_webhooks(apps: list[Values]) -> None:
    """Reject two webhooks of an app with the same URL, because the URL identifies the endpoint."""
    for app in apps:
        value = app.get("webhooks", Value((), ""))
        webhooks, origin = value.value, value.origin
        if duplicate := find_duplicate(webhook.url for webhook in webhooks):
            again, first = duplicate
            raise ConfigurationError(
                f"{origin}[{again}].url: {webhooks[again].url!r} is already used at "
                f"{origin}[{first}].url; add a query, such as ?2, to make it a different endpoint"
            )


def _build(struct: type[T], values: Values, prefix: str = "") -> T:
    """Build a struct, and the structs in its fields.

    The value for the field ``b`` of a struct in the field ``a`` has the name ``a.b``.
    """
    arguments: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        name = prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            arguments[field.name] = _build(field.type, values, f"{name}.")
        elif name in values:
            arguments[field.name] = values[name].value
    return struct(**arguments)


def _check_addresses(values: Values, command_line: Overrides) -> None:
    """Check the addresses that the server listens on.

    Reject an invalid host, an invalid endpoint string, and ``--host`` or ``--port`` in combination
    with ``listen``.
    """
    if "host" in values and not endpoint_strings.is_host(values["host"].value):
        host, origin = values["host"]
        raise ConfigurationError(f"{origin}: expected an IP address or a host name, got {host!r}")
    listen = values.get("listen")
    if listen is None or not listen.value:
        return
    for name in ("host", "port"):
        if name in command_line.settings:
            raise ConfigurationError(f"--{name}: has no effect, because {listen.origin} is given")
    for endpoint in listen.value:
        _check_endpoint(endpoint, listen.origin)


def _check_metrics_addresses(values: Values) -> None:
    """Convert the metrics addresses to endpoint strings.

    Reject a metrics address that the server or another metrics address already uses.
    """
    if "metrics_listen" not in values:
        return
    given, origin = values["metrics_listen"]
    names = ("host", "port", "listen")
    addresses: Values = {name: values[name] for name in names if name in values}
    used = [
        (endpoint, "the server listens on") for endpoint in _build(Settings, addresses).endpoints
    ]
    endpoints = []
    for address in given:
        endpoint = endpoint_strings.from_address(address)
        _check_endpoint(endpoint, origin)
        for candidate in _expand_for_workers(endpoint, values, f"{origin}: {address!r}"):
            for other, use in used:
                if endpoint_strings.conflict(candidate, other):
                    shown = address if candidate == endpoint else candidate
                    raise ConfigurationError(
                        f"{origin}: {shown!r} is already in use: {use} {other!r}"
                    )
            used.append((candidate, "metrics are served on"))
        endpoints.append(endpoint)
    values["metrics_listen"] = Value(tuple(endpoints), origin)


def _expand_for_workers(endpoint: str, values: Values, prefix: str) -> list[str]:
    """Return one metrics endpoint for each worker, derived from ``endpoint``."""
    workers = values.get("workers", Value(1, "")).value
    if workers == 1:
        return [endpoint]
    try:
        return [endpoint_strings.for_worker(endpoint, n) for n in range(1, workers + 1)]
    except ValueError as error:
        raise ConfigurationError(f"{prefix} cannot serve {workers} workers: {error}") from None


def _check_endpoint(endpoint: str, origin: str) -> None:
    if problem := endpoint_check.find_problem(endpoint):
        raise ConfigurationError(f"{origin}: cannot listen on endpoint {endpoint!r}: {problem}")


def _check_url(
    values: Values, name: str, parse: Callable[[str], object], libraries: Sequence[_Library]
) -> None:
    """Reject a malformed URL, and a URL that needs a library that is not installed."""
    if name not in values or not values[name].value:
        return
    url, origin = values[name]
    try:
        parse(url)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {error}") from None
    # Do not import the library: importing txredisapi installs the reactor.
    for library in libraries:
        if find_spec(library.module) is None:
            raise ConfigurationError(
                f"{origin}: needs the package {library.package} (extra [{library.extra}]): "
                f"pip install {library.package}"
            )


def _check_workers(values: Values) -> None:
    """Reject several workers without a Redis, through which they share channels and members."""
    workers = values.get("workers", Value(1, ""))
    if workers.value > 1 and not values.get("redis", Value("", "")).value:
        raise ConfigurationError(
            f"{workers.origin}: {workers.value} workers need a Redis to act as one server: "
            f"set {SETTINGS_OPTIONS['redis']} too"
        )


def _check_trusted_proxies(values: Values) -> None:
    proxies = values.get("trusted_proxies", Value((), ""))
    try:
        ClientAddresses(proxies.value)
    except ValueError as error:
        raise ConfigurationError(f"{proxies.origin}: {error}") from None


def _normalize_path(values: Values) -> None:
    if "path" not in values:
        return
    given, origin = values["path"]
    try:
        values["path"] = Value(normalize_path(given), origin)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {error}") from None


def _development_credentials() -> Values:
    return {
        name: Value(text, "the development app")
        for name, text in development.make_credentials().items()
    }
