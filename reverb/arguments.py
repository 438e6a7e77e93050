"""Checks the arguments that an embedding application passes to a service.

Each function raises an :class:`InvalidArgumentError` that names the first invalid argument. The
types of settings are not checked here, because a :class:`Settings` checks them when it is made.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from reverb.apps import App
from reverb.listening import endpoint_check, endpoint_strings
from reverb.nats.url import parse_nats_url
from reverb.protocol.notices import Notice
from reverb.redis.url import parse_redis_url
from reverb.settings import Settings
from reverb.transport.client_address import ClientAddresses
from reverb.validation import InvalidArgumentError, describe_value


def check_settings(settings: object) -> None:
    """Check the settings of a single node: the number of workers, the addresses and the URLs."""
    if not isinstance(settings, Settings):
        raise _mismatch("settings", "an instance of Settings", settings)
    if settings.workers != 1:
        raise InvalidArgumentError(
            f"Settings.workers: a ReverbService is one node, not {settings.workers}; "
            "twistd reverb --workers starts several"
        )
    if not endpoint_strings.is_host(settings.host):
        raise _mismatch("Settings.host", "an IP address or a host name", settings.host)
    for name in ("listen", "metrics_listen"):
        for endpoint in getattr(settings, name):
            if problem := endpoint_check.find_problem(endpoint):
                raise InvalidArgumentError(
                    f"Settings.{name}: cannot listen on endpoint {endpoint!r}: {problem}"
                )
    try:
        ClientAddresses(settings.trusted_proxies)
    except ValueError as error:
        raise InvalidArgumentError(f"Settings.trusted_proxies: {error}") from None
    _check_url("redis", settings.redis, parse_redis_url)
    _check_url("broker", settings.broker, parse_nats_url)


def _check_url(name: str, url: str, parse: Callable[[str], object]) -> None:
    if not url:
        return
    try:
        parse(url)
    except ValueError as error:
        raise InvalidArgumentError(f"Settings.{name}: {error}") from None


def check_publication(app: object, event: object, socket_id: object) -> None:
    """Check the types of the arguments of ``publish``, except the channels and the data."""
    if not isinstance(app, App):
        raise _mismatch("app", "an instance of App", app)
    if not isinstance(event, str):
        raise _mismatch("event", "a string", event)
    if socket_id is not None and not isinstance(socket_id, str):
        raise _mismatch("socket_id", "a string or None", socket_id)


def check_channels(channels: Any) -> list[str]:
    """Check the channels of ``publish``, and return their names in order, without duplicates."""
    if isinstance(channels, str | bytes) or not hasattr(channels, "__iter__"):
        raise _mismatch("channels", "a list of channel names", channels)
    names = list(channels)
    for name in names:
        if not isinstance(name, str):
            raise _mismatch("channels", "a list of channel names", names)
    return list(dict.fromkeys(names))


def encode_data(data: Any) -> str:
    """Return an event's data as clients receive it: a string unchanged, another value as JSON."""
    if isinstance(data, str):
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        # msgspec would encode bytes in base64.
        raise _mismatch("data", "a string, or a value that JSON can represent", data)
    try:
        return msgspec.json.encode(data).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgumentError(
            f"data: expected a string, or a value that JSON can represent: {error}"
        ) from None


def check_listener(kind: object, callback: object) -> None:
    """Check the arguments of :meth:`reverb.service.ReverbService.on`."""
    if not isinstance(kind, type) or not issubclass(kind, Notice):
        raise _mismatch("kind", "Notice, a notice class such as ClientEvent, or WebhookEvent", kind)
    if not callable(callback):
        raise _mismatch("callback", "a function", callback)


def _mismatch(argument: str, expected: str, value: object) -> InvalidArgumentError:
    return InvalidArgumentError(f"{argument}: expected {expected}, got {describe_value(value)}")
