"""Builds the settings: defaults, then the file, the environment and the command line.

A later source beats an earlier one. :mod:`reverb.config.sources` reads each of them; here they
are put together, and what is impossible only in combination is refused.
"""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import msgspec

from reverb.apps import App
from reverb.config import development
from reverb.config.sources import (
    CREDENTIALS,
    SETTINGS_OPTIONS,
    ConfigurationError,
    FileValues,
    Overrides,
    Value,
    Values,
    read_environment,
    read_file,
    read_options,
)
from reverb.listening import endpoint_strings
from reverb.nats.url import parse_nats_url
from reverb.redis.url import parse_redis_url
from reverb.settings import Settings, WebhookSettings

__all__ = ["Configuration", "ConfigurationError", "load"]

_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)*")


class _Library(NamedTuple):
    """A library that only some settings need."""

    module: str
    package: str
    extra: str
    """What of this project installs it."""


_TXREDISAPI = _Library("txredisapi", "txredisapi", "redis")
_NATS_PY = _Library("nats", "nats-py", "nats")


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, and what is to be known about where they come from."""

    settings: Settings
    """All settings of this node."""
    is_development: bool
    """Whether its only app was made up, because none was configured."""


def load(
    *, options: Mapping[str, object], environ: Mapping[str, str], config_path: str | None
) -> Configuration:
    """Build the settings from all sources.

    Args:
        options: The command line's options by name, such as ``app-id``; see
            :func:`reverb.config.sources.read_options`.
        environ: The environment.
        config_path: Path of the TOML file, None to use no file.

    Returns:
        The configuration, which has at least one app.

    Raises:
        ConfigurationError: If any source is wrong, or they do not fit together.
    """
    file = read_file(config_path) if config_path is not None else FileValues({}, {}, [])
    environment = read_environment(environ)
    command_line = read_options(options)
    values = file.settings | environment.settings | command_line.settings
    _check_addresses(values, command_line)
    _check_metrics_addresses(values)
    _check_url(values, "redis", parse_redis_url, _TXREDISAPI)
    _check_url(values, "broker", parse_nats_url, _NATS_PY)
    _check_workers(values)
    _normalise_path(values)
    apps = _merge_apps(file, environment, command_line)
    _check_complete(apps[: len(file.apps)], f"{config_path}: ")
    is_development = not apps
    if is_development:
        apps = [file.app_defaults | environment.app | _made_up_credentials()]
    _check_distinct(apps)
    _check_webhooks(apps)
    settings = _make_settings(apps, values)
    if is_development:
        development.require_loopback(settings)
    return Configuration(settings=settings, is_development=is_development)


def _merge_apps(file: FileValues, environment: Overrides, command_line: Overrides) -> list[Values]:
    """Give the file's apps their defaults and overrides, then add an app from outside."""
    apps = [file.app_defaults | app | environment.app for app in file.apps]
    credentials = command_line.credentials or environment.credentials
    if not credentials:
        return apps
    for app in apps:
        if "id" in app and app["id"].value == credentials["id"].value:
            app.update(credentials)
            return apps
    return [*apps, file.app_defaults | environment.app | credentials]


def _check_complete(apps: list[Values], prefix: str) -> None:
    for index, app in enumerate(apps):
        for name in CREDENTIALS:
            if name not in app:
                raise ConfigurationError(f"{prefix}apps[{index}].{name}: missing")


def _check_distinct(apps: list[Values]) -> None:
    for name in ("id", "key"):
        first_uses: dict[str, str] = {}
        for app in apps:
            value, origin = app[name]
            if value in first_uses:
                raise ConfigurationError(
                    f"{origin}: {value!r} is already the {name} of the app at {first_uses[value]}"
                )
            first_uses[value] = origin


def _check_webhooks(apps: list[Values]) -> None:
    """Refuse two webhooks of an app for the same URL, which names the endpoint."""
    for app in apps:
        value = app.get("webhooks", Value((), ""))
        first_uses: dict[str, str] = {}
        for index, webhook in enumerate(value.value):
            here = f"{value.origin}[{index}].url"
            if webhook.url in first_uses:
                raise ConfigurationError(
                    f"{here}: {webhook.url!r} is already at {first_uses[webhook.url]}; another "
                    "query, such as ?2, makes it another endpoint"
                )
            first_uses[webhook.url] = here


def _make_settings(apps: list[Values], values: Values) -> Settings:
    plain, webhooks = {}, {}
    for name, value in _plain(values).items():
        table, dot, key = name.partition(".")
        if dot:
            assert table == "webhooks"
            webhooks[key] = value
        else:
            plain[name] = value
    return Settings(
        apps=tuple(App(**_plain(app)) for app in apps),
        webhooks=WebhookSettings(**webhooks),
        **plain,
    )


def _check_addresses(values: Values, command_line: Overrides) -> None:
    """Refuse endpoint strings that cannot work, and options that would have no effect."""
    if "host" in values and not endpoint_strings.is_host(values["host"].value):
        host, origin = values["host"]
        raise ConfigurationError(f"{origin}: expected an IP address or a host's name, got {host!r}")
    listen = values.get("listen")
    if listen is None or not listen.value:
        return
    for name in ("host", "port"):
        if name in command_line.settings:
            raise ConfigurationError(f"--{name}: has no effect, because {listen.origin} is given")
    for endpoint in listen.value:
        _check_endpoint(endpoint, listen.origin)


def _check_metrics_addresses(values: Values) -> None:
    """Make endpoint strings of the addresses for metrics; each must be another one."""
    if "metrics_listen" not in values:
        return
    given, origin = values["metrics_listen"]
    plain = _plain({name: values[name] for name in ("host", "port", "listen") if name in values})
    taken = [(endpoint, "the server listens on") for endpoint in Settings(**plain).endpoints]
    endpoints = []
    for address in given:
        endpoint = endpoint_strings.from_address(address)
        _check_endpoint(endpoint, origin)
        for one in _of_workers(endpoint, values, f"{origin}: {address!r}"):
            for other, whose in taken:
                if endpoint_strings.clash(one, other):
                    by = address if one == endpoint else one
                    raise ConfigurationError(
                        f"{origin}: {by!r} is an address that {whose} already, by {other!r}"
                    )
            taken.append((one, "metrics are on"))
        endpoints.append(endpoint)
    values["metrics_listen"] = Value(tuple(endpoints), origin)


def _of_workers(endpoint: str, values: Values, place: str) -> list[str]:
    """List what an endpoint for metrics becomes, as each worker has one of its own."""
    workers = values.get("workers", Value(1, "")).value
    if workers == 1:
        return [endpoint]
    try:
        return [endpoint_strings.for_worker(endpoint, n) for n in range(1, workers + 1)]
    except ValueError as error:
        raise ConfigurationError(f"{place} cannot serve {workers} workers: {error}") from None


def _check_endpoint(endpoint: str, origin: str) -> None:
    if problem := endpoint_strings.problem_of(endpoint):
        raise ConfigurationError(f"{origin}: cannot listen on endpoint {endpoint!r}: {problem}")


def _check_url(
    values: Values, name: str, parse: Callable[[str], object], library: _Library
) -> None:
    """Refuse a URL that cannot be used, before anything is started by it."""
    if name not in values or not values[name].value:
        return
    url, origin = values[name]
    try:
        parse(url)
    except ValueError as error:
        raise ConfigurationError(f"{origin}: {error}") from None
    # Not by importing it: txredisapi would install the reactor.
    if find_spec(library.module) is None:
        raise ConfigurationError(
            f"{origin}: needs {library.package}, of this server's extra [{library.extra}]: "
            f"pip install {library.package}"
        )


def _check_workers(values: Values) -> None:
    """Refuse several workers that would not know of each other's clients."""
    workers = values.get("workers", Value(1, ""))
    if workers.value > 1 and not values.get("redis", Value("", "")).value:
        raise ConfigurationError(
            f"{workers.origin}: {workers.value} workers need a Redis, by which they are one server "
            f"to clients: give {SETTINGS_OPTIONS['redis']} too"
        )


def _normalise_path(values: Values) -> None:
    """Make the path empty, or start with a slash and not end with one."""
    if "path" not in values:
        return
    given, origin = values["path"]
    path = "/" + given.strip("/") if given.strip("/") else ""
    if not _PATH.fullmatch(path):
        raise ConfigurationError(
            f"{origin}: expected a URL path of letters, digits and the characters - . _ ~ /, "
            f"got {given!r}"
        )
    values["path"] = Value(path, origin)


def _made_up_credentials() -> Values:
    return {
        name: Value(text, "the development app")
        for name, text in development.make_credentials().items()
    }


def _plain(values: Values) -> dict[str, Any]:
    return {name: value for name, (value, _) in values.items()}
