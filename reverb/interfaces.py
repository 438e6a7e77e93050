"""The contracts between the parts, for those who replace one.

Every Deferred that a store or a broker returns may already have fired; the
memory implementations always fire at once. Failures that callers must expect
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
    """One client, as the hub knows it."""

    socket_id: str = Attribute("The connection's socket id.")

    def send(frame: bytes) -> None:
        """Send ready WebSocket frames, one or several joined.

        Waits for nobody: what the client does not take now is queued, and past
        the node's ``max_buffered_bytes`` the connection is closed instead.
        Does nothing on a connection that is closing or closed.
        """

    def close(code: int, reason: str) -> None:
        """Send ``pusher:error`` and a close frame, both with the code and the reason.

        Nothing is received or sent after that. Harmless on a closed connection.
        """


class IApps(Interface):
    """Where apps come from."""

    def by_key(key: str) -> "Deferred[App | None]":
        """Find the app that a client connects to.

        Returns:
            Fires with the app, or with None when there is none of this key.
        """

    def by_id(app_id: str) -> "Deferred[App | None]":
        """Find the app that an API request names.

        Returns:
            Fires with the app, or with None when there is none of this id.
        """


class IBroker(Interface):
    """Carries publications to every node that has subscribers, this one included.

    Delivery: at most once. Ordering: per publishing node and channel.
    """

    connected: bool = Attribute("Whether publications reach the other nodes.")
    unavailable_reason: str | None = Attribute(
        "Why they do not, for the operator; None when they do."
    )

    def start(deliver: "Callable[[Envelope], None]") -> "Deferred[None]":
        """Begin to deliver.

        Args:
            deliver: Called with each envelope that is meant for this node.

        Returns:
            Fires when the broker is ready.
        """

    def stop() -> "Deferred[None]":
        """End delivery; fires when nothing of the broker is left."""

    def subscribe(app_id: str, channel: str) -> "Deferred[None] | None":
        """Want what other nodes publish to a channel.

        Called for each subscription of this node, so also for a channel that
        is wanted already.

        Returns:
            None when it is in place. Otherwise fires when what is published
            from then on is delivered, or when the broker has lost the other
            nodes and will catch up by itself; it never fails.
        """

    def unsubscribe(app_id: str, channel: str) -> None:
        """Not want a channel any more, as this node has no subscriber left.

        The broker may go on delivering for a while.
        """

    def publish(envelope: Envelope) -> bool:
        """Carry one envelope; this node's subscribers are served before it returns.

        While the other nodes are out of reach it is for this node alone:
        nothing is kept for later.

        Returns:
            Whether it is on its way to the other nodes, or there can be none;
            False when it is for this node alone.
        """


class ILinked(Interface):
    """A broker or a store that reaches another program; metrics tell of it."""

    link_meter = Attribute("What it has counted, a :class:`reverb.meter.LinkMeter`.")


class JoinResult(msgspec.Struct, frozen=True):
    """What a subscription changed, across all nodes."""

    occupied: bool
    """The channel had no subscription before."""
    added: bool
    """The member's user had no subscription to the channel before."""
    subscriptions: int
    """Subscriptions to the channel, this one included."""
    members: Mapping[str, str]
    """``user_info`` JSON text by user id, the joiner included; empty unless it is a member.

    Where the store keeps a :class:`reverb.protocol.roster.Roster` for each
    channel, the list is not put into JSON anew for everybody who joins.
    """
    announced: bool = False
    """The store has told the subscribers on every node itself, by its :data:`Change` callback."""


class LeaveResult(msgspec.Struct, frozen=True):
    """What the end of a subscription changed, across all nodes."""

    vacated: bool
    """The channel has no subscription any more."""
    removed: str | None
    """The user id that has no subscription to the channel any more."""
    subscriptions: int
    """Subscriptions left."""
    announced: bool = False
    """The store tells the subscribers on every node itself, as for :class:`Joined`."""


class ChannelCounts(msgspec.Struct, frozen=True):
    """How many there are on a channel, across all nodes."""

    subscriptions: int
    users: int
    """Distinct users; 0 but on presence channels."""


class CachedEvent(msgspec.Struct, frozen=True):
    """The last event of a cache channel."""

    event: str
    data: str
    ttl: float
    """Seconds that it will still be remembered."""


class MemberJoined(msgspec.Struct, frozen=True):
    """A user is a member of a channel who was not, as far as this node's subscribers knew."""

    app_id: str
    channel: str
    member: Member


class MemberLeft(msgspec.Struct, frozen=True):
    """A user whom this node's subscribers knew as a member is one no more."""

    app_id: str
    channel: str
    user_id: str


class ChannelReaped(msgspec.Struct, frozen=True):
    """What a node that died has left on a channel, told to one surviving node.

    It is for notices, and for counts of subscriptions: subscribers learn of
    members by :class:`MemberLeft`.
    """

    app_id: str
    channel: str
    removed: tuple[str, ...]
    """The users who had no subscription elsewhere."""
    vacated: bool
    """Nobody is subscribed any more."""


class StoreRestored(msgspec.Struct, frozen=True):
    """The store answers for all nodes again; told to each node whenever it may have missed some."""


StoreChange = MemberJoined | MemberLeft | ChannelReaped | StoreRestored
"""What a store that nodes share tells the hub by itself."""


class ChannelFullError(Exception):
    """The presence channel has as many members as its app allows."""


class StoreRefusedError(Exception):
    """A store that is in reach cannot do what it was asked, as what it holds is spoilt.

    The text says what was asked and why, for the operator. The store has
    logged it, so those who handle it need not.
    """


class IChannelStore(Interface):
    """What is true of channels across all nodes. Every change is atomic there.

    A store that is shared and out of reach answers by what this node knows,
    rather than fail, and makes good for it when it is back. Any question to
    such a store may fail with StoreRefusedError.
    """

    def start(changed: "Callable[[StoreChange], None]") -> "Deferred[None]":
        """Begin to keep this node's share.

        Args:
            changed: Called with what happens elsewhere. A store that calls it
                with members marks what it answers as ``announced``.

        Returns:
            Fires when the store can be asked.
        """

    def stop() -> "Deferred[None]":
        """Give up this node's share; fires when nothing of it is left anywhere."""

    connected: bool = Attribute("Whether the store can be asked now.")

    def connect(app_id: str, socket_id: str, limit: int) -> "Deferred[bool]":
        """Count a connection.

        Args:
            app_id: The app.
            socket_id: The connection's.
            limit: Connections that the app may have, 0 for any number.

        Returns:
            Fires with whether it was admitted; when not, nothing changed.
        """

    def disconnect(app_id: str, socket_id: str) -> "Deferred[None]":
        """Stop counting a connection; harmless when it was not counted."""

    def connections(app_id: str) -> "Deferred[int]":
        """Fire with the number of connections."""

    def join(
        app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription, to a channel that this node wants of its broker already.

        A user who is a member already keeps one place in the members, and the
        new ``user_info`` replaces the old one.

        Args:
            app_id: The app.
            channel: The channel's name.
            socket_id: The subscriber's.
            member: Who joins, on a presence channel.
            max_members: Distinct users that the channel may have, 0 for any number.

        Returns:
            Fires when the subscription is in place. Fails with
            ChannelFullError when one more user would be too many; nothing
            changed then.
        """

    def leave(app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription.

        Returns:
            Fires with what that changed, or with None when there was none.
        """

    def members(app_id: str, channel: str) -> "Deferred[Mapping[str, str]]":
        """Fire with the ``user_info`` JSON text of each user id on a presence channel."""

    def counts(app_id: str, channel: str) -> "Deferred[ChannelCounts]":
        """Fire with the channel's counts; zeros when nobody is subscribed."""

    def occupied(app_id: str, channels: Sequence[str]) -> "Deferred[Mapping[str, bool]]":
        """Tell of some channels whether anybody is subscribed.

        Returns:
            Fires with the answer for each channel. While the other nodes are
            out of reach, those are left out that this node has no subscription
            to: others may have one.
        """

    def channels(app_id: str, prefix: str) -> "Deferred[Mapping[str, ChannelCounts]]":
        """Fire with the counts of every occupied channel whose name begins with the prefix."""

    def cache_event(app_id: str, channel: str, event: str, data: str, ttl: int) -> "Deferred[None]":
        """Keep a cache channel's last event for ``ttl`` seconds, subscribers or not."""

    def get_cached_event(app_id: str, channel: str) -> "Deferred[CachedEvent | None]":
        """Find the cache channel's last event.

        Returns:
            Fires with the event, or with None when nothing is remembered. If
            it was published while this node subscribed to the channel, the
            broker has delivered it before.
        """
