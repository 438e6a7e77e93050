"""A realtime server that speaks the Pusher Channels protocol.

Run the server with ``twistd -n reverb``, or embed it in a Twisted application::

    from reverb import App, ReverbService, Settings

    app = App(id="1", key="key", secret="secret")
    service = ReverbService(Settings(apps=(app,)))
    service.setServiceParent(application)
    service.publish(app, ["news"], "headline", {"text": "Hello"})

This package and :mod:`reverb.testing` are the public API; ``docs/api.md`` lists the public names.
The package imports each public name when the name is first used (PEP 562), so ``import reverb``
loads neither Twisted nor a reactor. ``__init__.pyi`` declares the public names for type checkers
and editors.
"""

from importlib import import_module

__version__ = "0.1.0"

_NAMES_BY_MODULE = {
    "apps": ("App", "Webhook"),
    "backends": ("WrongReactorError",),
    "envelope": ("CountChanged", "Envelope", "Publication", "Termination"),
    "interfaces": (
        "CachedEvent",
        "ChannelCounts",
        "ChannelFullError",
        "IApps",
        "IBroker",
        "IChannelStore",
        "StoreRefusedError",
    ),
    "protocol.changes": (
        "ChannelReaped",
        "JoinResult",
        "LeaveResult",
        "MemberJoined",
        "MemberLeft",
        "StoreChange",
        "StoreRestored",
    ),
    "protocol.events": ("EventError",),
    "protocol.messages": ("Member",),
    "protocol.notices": (
        "CacheMiss",
        "ChannelOccupied",
        "ChannelVacated",
        "ClientEvent",
        "Connected",
        "Disconnected",
        "MemberAdded",
        "MemberRemoved",
        "Notice",
        "SubscriptionCount",
    ),
    "runtime": ("Runtime",),
    "service": ("ReverbService",),
    "settings": ("Settings", "WebhookSettings"),
    "transport.http_resource": ("HttpResource",),
    "validation": ("InvalidArgumentError",),
    "webhooks.events": ("WebhookEvent",),
    "webhooks.interfaces": (
        "IWebhookEventSource",
        "IWebhookTransport",
        "JournalError",
        "WebhookTransportError",
    ),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = [
    "App",
    "CacheMiss",
    "CachedEvent",
    "ChannelCounts",
    "ChannelFullError",
    "ChannelOccupied",
    "ChannelReaped",
    "ChannelVacated",
    "ClientEvent",
    "Connected",
    "CountChanged",
    "Disconnected",
    "Envelope",
    "EventError",
    "HttpResource",
    "IApps",
    "IBroker",
    "IChannelStore",
    "IWebhookEventSource",
    "IWebhookTransport",
    "InvalidArgumentError",
    "JoinResult",
    "JournalError",
    "LeaveResult",
    "Member",
    "MemberAdded",
    "MemberJoined",
    "MemberLeft",
    "MemberRemoved",
    "Notice",
    "Publication",
    "ReverbService",
    "Runtime",
    "Settings",
    "StoreChange",
    "StoreRefusedError",
    "StoreRestored",
    "SubscriptionCount",
    "Termination",
    "Webhook",
    "WebhookEvent",
    "WebhookSettings",
    "WebhookTransportError",
    "WrongReactorError",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
