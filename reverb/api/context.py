"""The parts of the node that the functions of the API's routes use."""

from collections.abc import Callable
from dataclasses import dataclass

from reverb.api.authentication import Authenticator
from reverb.hub.hub import Hub
from reverb.interfaces import IChannelStore
from reverb.webhooks.interfaces import IWebhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The parts of the node; each route's function gets them as its first argument."""

    authenticator: Authenticator
    """Authenticates signed requests."""
    hub: Hub
    """Publishes events and terminates connections."""
    store: IChannelStore
    """Knows the channels and connections of all nodes."""
    webhooks: IWebhooks | None
    """The node's webhooks; None if no app can have webhooks."""
    unavailable_reason: Callable[[], str | None]
    """Returns why the node is not ready for new clients; None if it is ready."""
