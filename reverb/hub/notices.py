"""What the hub tells those who watch it: embedding applications, webhooks, metrics.

The names are those of Pusher's webhook events where there is one.
"""

import msgspec


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in an app."""

    app_id: str


class Connected(Notice, frozen=True):
    """A client was admitted."""

    socket_id: str


class Disconnected(Notice, frozen=True):
    """An admitted client is gone."""

    socket_id: str


class ChannelOccupied(Notice, frozen=True):
    """A channel got its first subscription."""

    channel: str


class ChannelVacated(Notice, frozen=True):
    """A channel lost its last subscription."""

    channel: str


class MemberAdded(Notice, frozen=True):
    """A user's first subscription to a presence channel."""

    channel: str
    user_id: str


class MemberRemoved(Notice, frozen=True):
    """The end of a user's last subscription to a presence channel."""

    channel: str
    user_id: str


class ClientEvent(Notice, frozen=True):
    """A client sent an event to the others on its channel."""

    channel: str
    event: str
    data: str
    socket_id: str
    user_id: str | None
    """The sender's, on presence channels."""


class CacheMiss(Notice, frozen=True):
    """A client subscribed to a cache channel that remembers nothing."""

    channel: str


class SubscriptionCount(Notice, frozen=True):
    """How many subscriptions a channel has now, across all nodes."""

    channel: str
    count: int
