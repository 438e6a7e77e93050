"""The interfaces of the replaceable components: connections, apps, brokers and stores.

A Deferred that a store or a broker returns may already have fired. A store or a broker
in memory always returns Deferreds that have fired. This module also defines the
exceptions that callers must handle.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import App
from reverb.envelope import Envelope
from reverb.protocol.changes import JoinResult, LeaveResult, StoreChange
from reverb.protocol.frames import FrameBatch
from reverb.protocol.messages import Member


class IConnection(Interface):
    """One client's connection, as the hub uses it."""

    socket_id: str = Attribute("The connection's socket id.")

    def send(payload: bytes) -> int:
        """Send one message.

        :meth:`send` does not block. The connection queues the bytes that the client
        does not accept at once. When more than the node's ``max_buffered_bytes`` are
        queued already, or the client reads too slowly, the connection closes.
        :meth:`send` does nothing on a connection that is closing or closed.

        Args:
            payload: The message in JSON.

        Returns:
            The size in bytes of the message as sent, with the framing of the transport.
        """

    def send_batch(batch: FrameBatch) -> None:
        """Send the messages of a batch with one write, by the same rules as :meth:`send`."""

    def close(code: int, reason: str) -> None:
        """Send ``pusher:error`` and a close frame, both with the code and the reason.

        After the close frame, the connection sends nothing and ignores the client's
        messages. :meth:`close` does nothing on a connection that is closing or closed.
        """


class IApps(Interface):
    """A source of apps: it finds an app by its key or by its id."""

    def by_key(key: str) -> "Deferred[App | None]":
        """Find the app that a client connects to.

        Returns:
            Fires with the app, or with None when no app has this key.
        """

    def by_id(app_id: str) -> "Deferred[App | None]":
        """Find the app that an API request names.

        Returns:
            Fires with the app, or with None when no app has this id.
        """


class IBroker(Interface):
    """Delivers each envelope to this node's hub, and sends it to the other nodes that need it.

    A termination goes to all nodes. A publication or an invalidation goes to the nodes
    with interest in its channel. A node receives an envelope at most once. Envelopes
    that one node publishes to one channel arrive in the order of their publication.
    """

    connected: bool = Attribute("Whether publications reach the other nodes.")
    unavailable_reason: str | None = Attribute(
        "Why publications do not reach the other nodes, for the operator; None when they do."
    )

    def start(deliver: "Callable[[Envelope], None]") -> "Deferred[None]":
        """Start delivery.

        Args:
            deliver: Called with each envelope for this node.

        Returns:
            Fires when the broker is ready.
        """

    def stop() -> "Deferred[None]":
        """Stop delivery.

        Returns:
            Fires when the broker has released all its resources.
        """

    def subscribe(app_id: str, channel: str) -> "Deferred[None] | None":
        """Register interest in the other nodes' publications to a channel.

        The hub calls :meth:`subscribe` for each subscription, even if the interest in
        the channel is registered already. Once the interest is registered, the broker
        delivers every publication to the channel. A broker that has lost its connection
        registers the interest after it reconnects.

        Returns:
            None if the interest is registered already, or if the broker is disconnected.
            Otherwise a Deferred that fires when the interest is registered, or when the
            broker loses its connection. The Deferred does not fail.
        """

    def unsubscribe(app_id: str, channel: str) -> None:
        """Withdraw interest in a channel, because this node has no subscriber left.

        The broker may deliver publications to the channel for a while longer.
        """

    def publish(envelope: Envelope) -> bool:
        """Publish one envelope.

        The broker delivers the envelope on this node before :meth:`publish` returns.
        While the other nodes are out of reach, the broker delivers the envelope
        on this node only, and does not keep the envelope for the other nodes.

        Returns:
            True if the envelope was sent to the other nodes, or if there can be
            no other nodes. False if the envelope was delivered on this node only.
        """


class ILinked(Interface):
    """A broker or a store with a link to Redis or NATS; the metrics read the link's counters."""

    link_meter = Attribute("The counters of the link, a :class:`reverb.meter.LinkMeter`.")


class ChannelCounts(msgspec.Struct, frozen=True):
    """The numbers of a channel's subscriptions and users, across all nodes."""

    subscriptions: int
    users: int
    """The number of distinct users; 0 on channels other than presence channels."""


class CachedEvent(msgspec.Struct, frozen=True):
    """The last event of a cache channel."""

    event: str
    data: str
    ttl: float
    """Seconds until the event expires."""


class ChannelFullError(Exception):
    """The presence channel has as many members as its app allows."""


class StoreRefusedError(Exception):
    """A reachable store cannot perform an operation, because its data is corrupt.

    The exception's text names the operation and the reason, for the operator. The
    store has logged the text, so code that catches the exception need not log it again.
    """


class IChannelStore(Interface):
    """The connections, subscriptions, members and cached events of all nodes.

    Each change of the store is atomic. While the data that nodes share is out of reach, calls
    do not fail: the store answers from this node's local state, and reconciles
    when it reconnects. If the shared data is corrupt, any call may fail with
    StoreRefusedError.
    """

    def start(changed: "Callable[[StoreChange], None]") -> "Deferred[None]":
        """Start to record this node's subscriptions.

        Args:
            changed: Called with the changes that other nodes cause. If a store also
                calls ``changed`` with the member changes that this node causes, the
                store sets ``announced`` in the results of ``join`` and ``leave``.

        Returns:
            Fires when the store is ready for calls.
        """

    def stop() -> "Deferred[None]":
        """Stop the store; if nodes share it, remove this node's connections and subscriptions.

        Returns:
            Fires when the removal is complete, or when the store gives up because the
            shared data is out of reach. If the store gives up, another node reaps this
            node's connections and subscriptions.
        """

    connected: bool = Attribute("Whether the store is reachable now.")

    def connect(app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection.

        Args:
            app_id: The app's id.
            socket_id: The connection's socket id.
            limit: The largest number of connections that the app may have, 0 for no limit.

        Returns:
            Fires with True if the connection is admitted. Fires with False if the app
            has ``limit`` connections already; the connection is not counted then.
        """

    def disconnect(app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection; do nothing if it is not counted."""

    def connections(app_id: str) -> "Deferred[int]":
        """Fire with the app's number of connections on all nodes."""

    def join(
        app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription to a channel.

        The caller must first subscribe this node's broker to the channel. A
        user who is a member already remains one member, and the new
        ``user_info`` replaces the old one.

        Args:
            app_id: The app's id.
            channel: The channel's name.
            socket_id: The subscriber's socket id.
            member: The new member on a presence channel; None on other channels.
            max_members: The number of distinct users that the channel may have,
                0 for no limit.

        Returns:
            Fires with the effect of the new subscription across all nodes. Fails with
            ChannelFullError if one more user would exceed ``max_members``; the
            subscription is not added then.
        """

    def leave(app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription.

        Returns:
            Fires with the effect of the removal, or with None if the subscription does
            not exist.
        """

    def members(app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """Fire with a presence channel's members: ``user_info`` as JSON text by user id."""

    def counts(app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Fire with the numbers of a channel's subscriptions and users; 0 if there are none."""

    def occupied(app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Return, for each given channel, whether the channel has a subscription.

        Returns:
            Fires with a mapping of each channel to True or False. While the other nodes
            are out of reach, the mapping omits each channel without a subscription on this node,
            because another node may have a subscription to the channel.
        """

    def channels(app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """Fire with the counts of every occupied channel whose name begins with the prefix."""

    def cache_event(app_id: str, channel: str, event: str, data: str, ttl: int) -> "Deferred[None]":
        """Store a cache channel's last event for ``ttl`` seconds, even without subscribers."""

    def get_cached_event(app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Return a cache channel's last event.

        Returns:
            Fires with the event; with None if no event is cached. If the event
            was published after this node's broker subscribed to the channel, the
            broker delivers the publication before the Deferred fires.
        """
