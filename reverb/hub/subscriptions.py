"""Adds and removes subscriptions, and sends the resulting messages and notices.

Only the store knows the subscriptions on all nodes, so the store tells the effect of each
change. From the store's answer, :mod:`reverb.protocol.effects` derives the confirmation,
the messages to members, and the notices.
"""

from reverb.hub.channel import Channel, FanoutTargetFactory
from reverb.hub.counts import CountManager
from reverb.hub.fanout import Fanout
from reverb.hub.publisher import Publisher
from reverb.interfaces import ChannelFullError, IBroker, IChannelStore
from reverb.protocol import effects, messages
from reverb.protocol.changes import ChannelReaped, JoinResult, MemberJoined, MemberLeft
from reverb.protocol.codes import ClientError
from reverb.protocol.messages import Member
from reverb.protocol.names import ChannelType
from reverb.protocol.session import Session


class SubscriptionManager:
    """Adds and removes the subscriptions of this node's sessions.

    Args:
        channels: The channels with subscribers on this node, by app id and
            name; the manager adds channels to the dict, and removes channels from it.
        broker: Registers and withdraws interest in channels.
        store: Records subscriptions, and returns their effects across nodes.
        fanout: Sends to the subscribers of this node.
        counts: Sends the numbers of subscriptions.
        make_fanout_target: Creates the fanout target of a channel.
        publisher: Publishes messages, and notifies the listeners.
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
        publisher: Publisher,
    ) -> None:
        self._channels = channels
        self._broker = broker
        self._store = store
        self._fanout = fanout
        self._counts = counts
        self._make_fanout_target = make_fanout_target
        self._publisher = publisher

    # Joining

    async def join(
        self, session: Session, name: str, channel_type: ChannelType, member: Member | None
    ) -> None:
        """Subscribe a session to a channel, and send the resulting messages and notices.

        If the session ends before :meth:`join` is done, the hub calls :meth:`leave` afterwards.

        Args:
            session: The session.
            name: The channel's name.
            channel_type: The channel's type.
            member: The new member on a presence channel; None on other channels.

        Raises:
            ClientError: The channel has as many members as the app allows.
        """
        channel = self._reserve(session, name, channel_type)
        try:
            joined = await self._join_store(session, name, member)
        except BaseException:
            self._drop(session, name)
            raise
        if joined is None:
            self._drop(session, name)
            return
        self._announce(session, name, member, joined, channel)
        try:
            if channel_type.cached and session.open:
                await self._replay(session, name, channel)
        finally:
            self._activate(session, channel)

    def _activate(self, session: Session, channel: Channel) -> None:
        socket_id = session.socket_id
        if socket_id in channel:  # A session that is closing is in no channel any more.
            self._fanout.send_held(session, channel.held_frames(socket_id))
        if socket_id in channel:  # The session closes if too many bytes are queued for it.
            channel.activate(socket_id, session.connection)

    def _reserve(self, session: Session, name: str, type_: ChannelType) -> Channel:
        """Add the session to the channel as a pending subscriber; create the channel if needed."""
        key = (session.app.id, name)
        channel = self._channels.get(key)
        if channel is None:
            channel = Channel(session.meter, self._make_fanout_target, type_.kind)
            self._channels[key] = channel
        channel.reserve(session.socket_id)
        return channel

    async def _join_store(
        self, session: Session, name: str, member: Member | None
    ) -> JoinResult | None:
        """Register interest in the channel, then add the subscription to the store.

        Returns:
            The store's answer; None if the session began to close before the store was asked.
        """
        app = session.app
        subscribing = self._broker.subscribe(app.id, name)
        if subscribing is not None:
            await subscribing
            if not session.open:
                return None
        limit = app.max_presence_members
        try:
            return await self._store.join(app.id, name, session.socket_id, member, limit)
        except ChannelFullError:
            raise ClientError(
                f"Cannot subscribe to {name}: it has {limit} members, as many as the app allows",
                limit="max_presence_members",
            ) from None

    def _announce(
        self,
        session: Session,
        name: str,
        member: Member | None,
        joined: JoinResult,
        channel: Channel,
    ) -> None:
        """Send the confirmation, the messages and the notices of a new subscription.

        The listeners are notified after the confirmation, so an event that a listener publishes in
        response to a notice reaches the new subscriber.
        """
        app_id, socket_id = session.app.id, session.socket_id
        follows = effects.of_join(app_id, name, socket_id, member, joined)
        self._publisher.publish_effects("presence", app_id, name, follows)
        if session.open and follows.reply is not None:
            session.send(follows.reply)
            channel.mark_confirmed(socket_id)
        self._publisher.notify_effects(follows)
        self._counts.subscription_changed(session.app, name, joined=True)

    async def _replay(self, session: Session, name: str, channel: Channel) -> None:
        """Send a new subscriber the cached event, or ``cache_miss`` when no event is cached.

        Sends nothing if the cached event is among the frames that the channel holds back for the
        subscriber.
        """
        app_id = session.app.id
        cached = await self._store.get_cached_event(app_id, name)
        if not session.open:
            return
        if cached is None:
            follows = effects.of_cache_miss(app_id, name)
            if follows.reply is not None:
                session.send(follows.reply)
            self._publisher.notify_effects(follows)
            return
        payload = messages.event(cached.event, name, cached.data)
        if not channel.will_receive(session.socket_id, payload):
            self._fanout.send_pending(session)  # These events may have been published before.
            session.send(payload)

    # Leaving

    def _drop(self, session: Session, name: str) -> None:
        session.drop(name)
        self.remove(session, name)

    def remove(self, session: Session, name: str) -> None:
        """Remove a session from a channel on this node; delete a channel without subscribers.

        An open session is first sent the frames that are pending for it. An ended session has
        been sent them already.
        """
        key, socket_id = (session.app.id, name), session.socket_id
        channel = self._channels.get(key)
        if channel is not None:
            if channel.pending_frames and session.open:
                self._fanout.send_pending(session)
            channel.remove(socket_id)
            if not channel:
                del self._channels[key]
                self._broker.unsubscribe(*key)

    async def leave(self, session: Session, name: str) -> None:
        """Remove a subscription from the store, and send the resulting messages and notices."""
        app = session.app
        left = await self._store.leave(app.id, name, session.socket_id)
        if left is None:
            return
        follows = effects.of_leave(app.id, name, left)
        self._publisher.publish_effects("presence", app.id, name, follows)
        self._publisher.notify_effects(follows)
        self._counts.subscription_changed(app, name)

    # Changes on other nodes

    def channel_reaped(self, change: ChannelReaped) -> None:
        """Notify the listeners, and refresh a channel's count, after a dead node was reaped."""
        self._publisher.notify_effects(effects.of_reap(change))
        self._counts.channel_reaped(change)

    def deliver_member_change(self, change: MemberJoined | MemberLeft) -> None:
        """Send the subscribers of this node a member change that the store reports."""
        channel = self._channels.get((change.app_id, change.channel))
        if channel is not None:
            channel.skip_unconfirmed()
            self._fanout.add(channel, effects.member_message(change), None)
