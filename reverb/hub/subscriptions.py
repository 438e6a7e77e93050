"""Adds and removes subscriptions, and announces their effects.

Only the store knows the effect of a subscription across all nodes. The store's
answer determines the confirmation, the messages to members, and the notices.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from reverb.apps import App
from reverb.envelope import Publication
from reverb.hub.channel import Channel, FanoutTargetFactory
from reverb.hub.counts import CountManager
from reverb.hub.fanout import Fanout
from reverb.hub.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
    Notice,
)
from reverb.interfaces import (
    ChannelFullError,
    ChannelReaped,
    IBroker,
    IChannelStore,
    JoinResult,
    MemberJoined,
    MemberLeft,
)
from reverb.meter import Source
from reverb.protocol import messages
from reverb.protocol.codes import ClientError
from reverb.protocol.messages import Member
from reverb.protocol.names import ChannelType
from reverb.protocol.session import Session


class SubscriptionManager:
    """Adds and removes the subscriptions of this node's sessions.

    Args:
        channels: The channels with subscribers on this node, by app id and
            name; this class adds and removes them.
        broker: Registers this node's interest in channels.
        store: Records subscriptions, and returns their effects across nodes.
        fanout: Sends to the subscribers of this node.
        counts: Sends the numbers of subscriptions.
        make_fanout_target: Creates the fanout target of a channel.
        publish: Publishes to all nodes, and counts the publication by its source.
        notify: Sends a notice to the listeners.

    Attributes:
        joining: The socket id and channel of each subscription that is being
            added to the store.
    """

    def __init__(
        self,
        *,
        channels: dict[tuple[str, str], Channel],
        broker: IBroker,
        store: IChannelStore,
        fanout: Fanout,
        counts: CountManager,
        make_fanout_target: FanoutTargetFactory,
        publish: Callable[[Source, Publication], object],
        notify: Callable[[Notice], None],
    ) -> None:
        self._channels = channels
        self._broker = broker
        self._store = store
        self._fanout = fanout
        self._counts = counts
        self._make_fanout_target = make_fanout_target
        self._publish = publish
        self._notify = notify
        self.joining: set[tuple[str, str]] = set()

    # Joining

    async def join(
        self, session: Session, name: str, type_: ChannelType, member: Member | None
    ) -> None:
        """Subscribe a session to a channel, send it the confirmation, and announce the effects.

        A session that leaves in the meantime is removed again.

        Args:
            session: The session.
            name: The channel's name.
            type_: The channel's type.
            member: The new member on a presence channel; None on other channels.

        Raises:
            ClientError: The channel has as many members as the app allows.
        """
        app_id, socket_id = session.app.id, session.socket_id
        channel = self._reserve(session, name, type_)
        self.joining.add((socket_id, name))
        try:
            subscribing = self._broker.subscribe(app_id, name)
            if subscribing is not None:
                await subscribing
                if not session.open:  # The session left while the broker registered the interest.
                    self._remove_locally(session, name)
                    return
            joined = await self._store.join(
                app_id, name, socket_id, member, session.app.max_presence_members
            )
        except ChannelFullError:
            self._remove_locally(session, name)
            raise ClientError(
                f"Cannot subscribe to {name}: it has {session.app.max_presence_members} members, "
                "as many as the app allows",
                limit="max_presence_members",
            ) from None
        except BaseException:
            self._remove_locally(session, name)
            raise
        finally:
            self.joining.discard((socket_id, name))
        if member is not None and joined.added and not joined.announced:
            payload = messages.member_added(name, member)
            self._publish("presence", Publication(app_id, name, payload, socket_id))
        if session.open:
            self._confirm(session, name, member, joined)
            channel.mark_confirmed(socket_id)
        self._notify_joined(app_id, name, member, joined)
        self._counts.subscription_changed(session.app, name, joined=True)
        if not session.open:  # The session left during the call of the store.
            self._remove_locally(session, name)
            await self._leave(session.app, name, socket_id)
            return
        try:
            if type_.cached:
                await self._replay(session, name, channel)
        finally:
            if socket_id in channel:  # The session may have left during the call of the store.
                channel.activate(socket_id, session.connection)

    def _reserve(self, session: Session, name: str, type_: ChannelType) -> Channel:
        """Add the session to the channel as a pending subscriber; create the channel if needed."""
        key = (session.app.id, name)
        channel = self._channels.get(key)
        if channel is None:
            channel = Channel(self._make_fanout_target, type_.kind, session.meter)
            self._channels[key] = channel
        channel.reserve(session.socket_id)
        return channel

    @staticmethod
    def _confirm(session: Session, name: str, member: Member | None, joined: JoinResult) -> None:
        if member is None:
            session.send(messages.subscription_succeeded(name))
        else:
            session.send(messages.presence_subscription_succeeded(name, joined.members))

    def _notify_joined(
        self, app_id: str, name: str, member: Member | None, joined: JoinResult
    ) -> None:
        """Notify the listeners; an event that they publish in response reaches the subscriber."""
        if joined.occupied:
            self._notify(ChannelOccupied(app_id=app_id, channel=name))
        if member is not None and joined.added:
            self._notify(MemberAdded(app_id=app_id, channel=name, user_id=member.user_id))

    async def _replay(self, session: Session, name: str, channel: Channel) -> None:
        """Send a new subscriber the cached event, or ``cache_miss`` when no event is cached.

        Sends nothing when the channel already holds the event back for the subscriber.
        """
        app_id = session.app.id
        cached = await self._store.get_cached_event(app_id, name)
        if not session.open:
            return
        if cached is None:
            session.send(messages.cache_miss(name))
            self._notify(CacheMiss(app_id=app_id, channel=name))
            return
        payload = messages.event(cached.event, name, cached.data)
        if not channel.will_receive(session.socket_id, payload):
            session.send(payload)

    # Leaving

    def leave(self, session: Session, name: str) -> Coroutine[Any, Any, None] | None:
        """Remove a session from a channel on this node.

        Returns:
            A coroutine that removes the subscription from the store; None when
            :meth:`join` is still in progress, and will remove it from the store.
        """
        self._remove_locally(session, name)
        if (session.socket_id, name) in self.joining:
            # Two calls of the store for one subscription must not overlap, so join() removes it.
            return None
        return self._leave(session.app, name, session.socket_id)

    def _remove_locally(self, session: Session, name: str) -> None:
        """Remove a session from a channel on this node, and the channel if it is then empty."""
        session.channels.pop(name, None)
        key, socket_id = (session.app.id, name), session.socket_id
        channel = self._channels.get(key)
        if channel is not None:
            channel.remove(socket_id)
            if not channel:
                del self._channels[key]
                self._broker.unsubscribe(*key)

    async def _leave(self, app: App, name: str, socket_id: str) -> None:
        left = await self._store.leave(app.id, name, socket_id)
        if left is None:
            return
        if left.removed is not None and not left.announced:
            payload = messages.member_removed(name, left.removed)
            self._publish("presence", Publication(app.id, name, payload))
        removed = () if left.removed is None else (left.removed,)
        self._notify_left(app.id, name, removed, left.vacated)
        self._counts.subscription_changed(app, name)

    def _notify_left(self, app_id: str, name: str, removed: Iterable[str], vacated: bool) -> None:
        for user_id in removed:
            self._notify(MemberRemoved(app_id=app_id, channel=name, user_id=user_id))
        if vacated:
            self._notify(ChannelVacated(app_id=app_id, channel=name))

    # Changes on other nodes

    def channel_reaped(self, change: ChannelReaped) -> None:
        """Notify the listeners, and refresh the count, after a dead node was reaped."""
        self._notify_left(change.app_id, change.channel, change.removed, change.vacated)
        self._counts.channel_reaped(change)

    def deliver_member_change(self, change: MemberJoined | MemberLeft) -> None:
        """Send the subscribers of this node a member change that the store reports."""
        name = change.channel
        if isinstance(change, MemberJoined):
            payload = messages.member_added(name, change.member)
        else:
            payload = messages.member_removed(name, change.user_id)
        channel = self._channels.get((change.app_id, name))
        if channel is not None:
            channel.skip_unconfirmed()
            self._fanout.add(channel, payload, None)
