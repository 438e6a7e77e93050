"""The notices that the hub sends to its listeners: embedding applications and webhooks.

If Pusher has a webhook event for the same occurrence, the notice has the name of this
webhook event. "First" and "last" in a docstring of this module refer to the
subscriptions of all nodes that share a store.
"""

import msgspec


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in an app on this node; the base class of all notices."""

    app_id: str


class Connected(Notice, frozen=True):
    """A client was admitted."""

    socket_id: str


class Disconnected(Notice, frozen=True):
    """The connection of an admitted client has ended."""

    socket_id: str


class ChannelOccupied(Notice, frozen=True):
    """A channel got its first subscription."""

    channel: str


class ChannelVacated(Notice, frozen=True):
    """A channel lost its last subscription."""

    channel: str


class MemberAdded(Notice, frozen=True):
    """A user's first subscription to a presence channel began."""

    channel: str
    user_id: str


class MemberRemoved(Notice, frozen=True):
    """A user's last subscription to a presence channel ended."""

    channel: str
    user_id: str


class ClientEvent(Notice, frozen=True):
    """A client sent an event to the other subscribers of a channel."""

    channel: str
    event: str
    data: str
    socket_id: str
    user_id: str | None
    """The sender's user id; None except on presence channels."""


class CacheMiss(Notice, frozen=True):
    """A client subscribed to a cache channel that has no cached event."""

    channel: str


class SubscriptionCount(Notice, frozen=True):
    """The current number of subscriptions to a channel, across all nodes."""

    channel: str
    count: int
