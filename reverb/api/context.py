"""The parts of the node that the routes' functions use."""

from collections.abc import Callable
from dataclasses import dataclass

from reverb.api.authentication import Authenticator
from reverb.hub.hub import Hub
from reverb.interfaces import IChannelStore
from reverb.webhooks.interfaces import IWebhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The first argument of each route's function."""

    authenticator: Authenticator
    """Verifies signed requests."""
    hub: Hub
    """Publishes events and terminates connections."""
    store: IChannelStore
    """Knows the channels and connections of all nodes."""
    webhooks: IWebhooks | None
    """The node's webhooks, or None if no app has any."""
    unavailable_reason: Callable[[], str | None]
    """Returns why the node is not ready for new clients, or None when it is."""
