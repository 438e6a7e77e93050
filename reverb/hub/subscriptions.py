"""Joining and leaving channels, and what follows from the store's answer.

The store alone knows what a subscription changes across all nodes. From its
answer come the confirmation, the messages to members, and the notices.
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
    """Makes subscriptions and ends them.

    Args:
        channels: The channels with subscribers on this node, by app id and
            name; kept here.
        broker: Carries publications of other nodes to this one.
        store: Answers what a subscription changes across nodes.
        fanout: The way to the subscribers of this node.
        counting: Tells how many subscriptions there are.
        make_fanout_target: Makes the way to all subscribers of a channel.
        publish: Publishes to all nodes.
        notify: Tells watchers.

    Attributes:
        joining: The subscriptions that the store is being asked for, by socket
            id and channel.
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
        self._make_audience = make_fanout_target
        self._publish = publish
        self._notify = notify
        self.joining: set[tuple[str, str]] = set()

    # Joining

    async def join(
        self, session: Session, name: str, type_: ChannelType, member: Member | None
    ) -> None:
        """Subscribe a session, and answer it.

        Raises:
            ClientError: The channel is full.
        """
        app_id, socket_id = session.app.id, session.socket_id
        channel = self._expect(session, name, type_)
        self.joining.add((socket_id, name))
        try:
            wanting = self._broker.subscribe(app_id, name)
            if wanting is not None:
                await wanting
                if not session.open:  # It left, and its interest with it.
                    self._drop(session, name)
                    return
            joined = await self._store.join(
                app_id, name, socket_id, member, session.app.max_presence_members
            )
        except ChannelFullError:
            self._drop(session, name)
            raise ClientError(
                f"Cannot subscribe to {name}: it has {session.app.max_presence_members} members, "
                "as many as the app allows",
                limit="max_presence_members",
            ) from None
        except BaseException:
            self._drop(session, name)
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
        self._counts.changed(session.app, name, came=True)
        if not session.open:  # It left while the store was being asked.
            self._drop(session, name)
            await self._leave(session.app, name, socket_id)
            return
        try:
            if type_.cached:
                await self._replay(session, name, channel)
        finally:
            if socket_id in channel:  # It may have left while the store was being asked.
                channel.activate(socket_id, session.connection)

    def _expect(self, session: Session, name: str, type_: ChannelType) -> Channel:
        """Have the channel keep what is published from now on for a newcomer."""
        key = (session.app.id, name)
        channel = self._channels.get(key)
        if channel is None:
            channel = Channel(self._make_audience, type_.kind, session.meter)
            self._channels[key] = channel
        channel.reserve(session.socket_id)
        return channel

    @staticmethod
    def _confirm(session: Session, name: str, member: Member | None, joined: JoinResult) -> None:
        if member is None:
            session.send(messages.subscription_succeeded(name))
        else:
            session.send(messages.presence_succeeded(name, joined.members))

    def _notify_joined(
        self, app_id: str, name: str, member: Member | None, joined: JoinResult
    ) -> None:
        """Tell watchers; what they publish in answer reaches the new subscriber too."""
        if joined.occupied:
            self._notify(ChannelOccupied(app_id=app_id, channel=name))
        if member is not None and joined.added:
            self._notify(MemberAdded(app_id=app_id, channel=name, user_id=member.user_id))

    async def _replay(self, session: Session, name: str, channel: Channel) -> None:
        """Give a new subscriber what its cache channel remembers, unless it comes anyway."""
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
        """Take a session off a channel at once, on this node.

        Returns:
            What remains to be done with the store; None when that is already
            under way.
        """
        self._drop(session, name)
        if (session.socket_id, name) in self.joining:
            # Who is joining leaves when that is done: the store is asked one after the other.
            return None
        return self._leave(session.app, name, session.socket_id)

    def _drop(self, session: Session, name: str) -> None:
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
        gone = () if left.removed is None else (left.removed,)
        self._notify_left(app.id, name, gone, left.vacated)
        self._counts.changed(app, name)

    def _notify_left(self, app_id: str, name: str, gone: Iterable[str], vacated: bool) -> None:
        for user_id in gone:
            self._notify(MemberRemoved(app_id=app_id, channel=name, user_id=user_id))
        if vacated:
            self._notify(ChannelVacated(app_id=app_id, channel=name))

    # What happens on other nodes

    def channel_reaped(self, change: ChannelReaped) -> None:
        """Tell watchers what a dead node has left."""
        self._notify_left(change.app_id, change.channel, change.removed, change.vacated)
        self._counts.channel_reaped(change)

    def deliver_member_change(self, change: MemberJoined | MemberLeft) -> None:
        """Tell this node's subscribers of a member whom the store has announced."""
        name = change.channel
        if isinstance(change, MemberJoined):
            payload = messages.member_added(name, change.member)
        else:
            payload = messages.member_removed(name, change.user_id)
        channel = self._channels.get((change.app_id, name))
        if channel is not None:
            channel.skip_unconfirmed()
            self._fanout.add(channel, payload, None)
