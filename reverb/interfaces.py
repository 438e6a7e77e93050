"""The interfaces of the replaceable components: connections, apps, brokers and stores.

A Deferred that a store or a broker returns may already have fired; the memory
implementations return only fired ones. The exceptions that callers must expect
are defined beside the interface that raises them.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import App
from reverb.envelope import Envelope
from reverb.protocol.messages import Member


class IConnection(Interface):
    """One client's connection, as the hub uses it."""

    socket_id: str = Attribute("The connection's socket id.")

    def send(frame: bytes) -> None:
        """Send encoded WebSocket frames, one or several joined.

        It never blocks. Bytes that the client does not accept at once are
        queued; when more than the node's ``max_buffered_bytes`` are queued, the
        connection is closed instead. Does nothing on a connection that is
        closing or closed.
        """

    def close(code: int, reason: str) -> None:
        """Send ``pusher:error`` and a close frame, both with the code and the reason.

        Nothing is received or sent after that. Does nothing on a closed connection.
        """


class IApps(Interface):
    """A source of apps."""

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
    """Delivers envelopes to every node that has subscribers, including this one.

    Delivery: at most once. Ordering: per publishing node and channel.
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
        """Stop delivery; fires when the broker has released all its resources."""

    def subscribe(app_id: str, channel: str) -> "Deferred[None] | None":
        """Register interest in the publications of other nodes to a channel.

        Called for each subscription of this node, so also for a channel in
        which interest is registered already.

        Returns:
            None when the interest is in place. Otherwise fires when every later
            publication is delivered, or when the broker has lost the other
            nodes and will register the interest itself after it reconnects; it
            never fails.
        """

    def unsubscribe(app_id: str, channel: str) -> None:
        """Withdraw interest in a channel, as this node has no subscriber left.

        The broker may continue to deliver for a while.
        """

    def publish(envelope: Envelope) -> bool:
        """Publish one envelope; it is delivered on this node before the call returns.

        While the other nodes are out of reach, the envelope is delivered on
        this node only and is not kept for later.

        Returns:
            Whether the envelope was sent to the other nodes, or there can be no
            other nodes; False when it was delivered on this node only.
        """


class ILinked(Interface):
    """A broker or a store that connects to another program; metrics report on its link."""

    link_meter = Attribute("The counters of the link, a :class:`reverb.meter.LinkMeter`.")


class JoinResult(msgspec.Struct, frozen=True):
    """The effect of a new subscription, across all nodes."""

    occupied: bool
    """Whether the channel had no subscription before."""
    added: bool
    """Whether the member's user had no subscription to the channel before."""
    subscriptions: int
    """The number of subscriptions to the channel, including this one."""
    members: Mapping[str, str]
    """The ``user_info`` JSON text of each user id, including the new member.

    Empty if the subscriber is not a member. A store that keeps a
    :class:`reverb.protocol.roster.Roster` for each channel avoids encoding the
    list for each new member.
    """
    announced: bool = False
    """Whether the store notifies the subscribers on every node itself.

    It then calls the ``changed`` callback of :meth:`IChannelStore.start` on each node.
    """


class LeaveResult(msgspec.Struct, frozen=True):
    """The effect of the end of a subscription, across all nodes."""

    vacated: bool
    """Whether the channel has no subscription any more."""
    removed: str | None
    """The id of the user who has no subscription to the channel any more; None if there is none."""
    subscriptions: int
    """The number of subscriptions that remain."""
    announced: bool = False
    """Whether the store notifies the subscribers on every node itself; see :class:`JoinResult`."""


class ChannelCounts(msgspec.Struct, frozen=True):
    """The numbers of subscriptions and users of a channel, across all nodes."""

    subscriptions: int
    users: int
    """Distinct users; 0 except on presence channels."""


class CachedEvent(msgspec.Struct, frozen=True):
    """The last event of a cache channel."""

    event: str
    data: str
    ttl: float
    """Seconds until the event expires."""


class MemberJoined(msgspec.Struct, frozen=True):
    """A user is now a member of a channel, and this node's subscribers do not know it yet."""

    app_id: str
    channel: str
    member: Member


class MemberLeft(msgspec.Struct, frozen=True):
    """A user whom this node's subscribers know as a member is not a member any more."""

    app_id: str
    channel: str
    user_id: str


class ChannelReaped(msgspec.Struct, frozen=True):
    """The subscriptions of a dead node to a channel were removed; sent to one surviving node.

    It serves for notices and for subscription counts. Subscribers are notified
    of removed members by :class:`MemberLeft`.
    """

    app_id: str
    channel: str
    removed: tuple[str, ...]
    """The ids of the users who had no subscription on another node."""
    vacated: bool
    """Whether the channel has no subscription any more."""


class StoreRestored(msgspec.Struct, frozen=True):
    """The store answers for all nodes again.

    Sent to each node whenever it may have missed changes.
    """


StoreChange = MemberJoined | MemberLeft | ChannelReaped | StoreRestored
"""A change that a shared store reports to the hub on its own initiative."""


class ChannelFullError(Exception):
    """The presence channel has as many members as its app allows."""


class StoreRefusedError(Exception):
    """A store that is reachable cannot perform an operation, because its data is corrupt.

    The text names the operation and the reason, for the operator. The store has
    logged it already, so handlers need not log it again.
    """


class IChannelStore(Interface):
    """The state of channels across all nodes. Every change to it is atomic.

    A shared store that is out of reach does not fail. It answers from this
    node's local state and reconciles when it reconnects. Any call to a shared
    store may fail with StoreRefusedError.
    """

    def start(changed: "Callable[[StoreChange], None]") -> "Deferred[None]":
        """Start to record this node's subscriptions.

        Args:
            changed: Called with changes that happen elsewhere. A store that
                calls it for members sets ``announced`` in its results.

        Returns:
            Fires when the store is ready for calls.
        """

    def stop() -> "Deferred[None]":
        """Remove this node's subscriptions; fires when the store holds none of them any more."""

    connected: bool = Attribute("Whether the store is reachable now.")

    def connect(app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection.

        Args:
            app_id: The app's id.
            socket_id: The connection's socket id.
            limit: The number of connections that the app may have, 0 for no limit.

        Returns:
            Fires with whether the connection was admitted; if not, nothing changed.
        """

    def disconnect(app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection; does nothing when it was not counted."""

    def connections(app_id: str) -> "Deferred[int]":
        """Fire with the app's number of connections."""

    def join(
        app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription to a channel; this node's broker is already subscribed to it.

        A user who is a member already remains one member, and the new
        ``user_info`` replaces the old one.

        Args:
            app_id: The app's id.
            channel: The channel's name.
            socket_id: The subscriber's socket id.
            member: The new member on a presence channel; None on other channels.
            max_members: The number of distinct users that the channel may have,
                0 for no limit.

        Returns:
            Fires with the effect when the subscription is in place. Fails with
            ChannelFullError when one more user would exceed ``max_members``;
            nothing changed then.
        """

    def leave(app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription.

        Returns:
            Fires with the effect, or with None when the subscription did not exist.
        """

    def members(app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """Fire with the ``user_info`` JSON text of each user id on a presence channel."""

    def counts(app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Fire with the channel's counts, which are zero when it has no subscription."""

    def occupied(app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Return whether each of the given channels has a subscription.

        Returns:
            Fires with the answer for each channel. While the other nodes are
            out of reach, the answer omits the channels to which this node has
            no subscription: other nodes may have one.
        """

    def channels(app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """Fire with the counts of every occupied channel whose name begins with the prefix."""

    def cache_event(app_id: str, channel: str, event: str, data: str, ttl: int) -> "Deferred[None]":
        """Store a cache channel's last event for ``ttl`` seconds, even without subscribers."""

    def get_cached_event(app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Return a cache channel's last event.

        Returns:
            Fires with the event, or with None when no event is cached. If the
            event was published while this node was subscribed to the channel,
            the broker has delivered it already.
        """
