"""Who is connected to this process, who is subscribed to what, and what follows.

The hub asks the store, which alone knows what is true across all nodes, and
from its answers come the messages to members and the notices to watchers. All
that is published leaves through :meth:`Hub.publish` or its like to the broker,
and comes back to :meth:`Hub.deliver`, whatever its source.
"""

import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.apps.app import App
from reverb.brokers.envelope import Envelope, Publication, Termination
from reverb.hub.channel import AudienceFactory, Channel, OneByOne
from reverb.hub.fanout import Fanout
from reverb.hub.limits import RateLimit
from reverb.hub.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    Connected,
    Disconnected,
    MemberAdded,
    MemberRemoved,
    Notice,
)
from reverb.hub.steps import run
from reverb.interfaces import (
    Abandoned,
    Change,
    ChannelFullError,
    IBroker,
    IChannelStore,
    IConnection,
    Joined,
    Left,
    MemberCame,
)
from reverb.meter import Meter, Source
from reverb.protocol import messages
from reverb.protocol.codes import ClientError, Code
from reverb.protocol.messages import Member, User
from reverb.protocol.names import ChannelType, channel_type
from reverb.protocol.session import Done, Session


class Hub:
    """This node's connections and channels.

    Args:
        broker: Carries publications; it must deliver to :meth:`deliver`.
        store: Answers what is true across nodes.
        clock: For the turns of the fan-out and for rate limits.
        cache_ttl: Seconds that cache channels remember their last event.
        make_audience: Makes the way to all subscribers of a channel; it may
            know a shorter one than from connection to connection.
        meter: That of the node; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        broker: IBroker,
        store: IChannelStore,
        clock: IReactorTime,
        cache_ttl: int,
        make_audience: AudienceFactory = OneByOne,
        meter: Meter | None = None,
    ) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self._cache_ttl = cache_ttl
        self._make_audience = make_audience
        self._meter = meter
        self._fanout = Fanout(clock)
        self._watchers: list[Callable[[Notice], None]] = []
        self._reserved: set[str] = set()
        self._joining: set[tuple[str, str]] = set()
        self._sessions: dict[str, Session] = {}
        self._channels: dict[tuple[str, str], Channel] = {}
        self._users: dict[tuple[str, str], set[Session]] = {}
        self._client_event_rates: dict[str, RateLimit] = {}

    # Connections

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The admitted sessions, by socket id."""
        return self._sessions

    @property
    def channels(self) -> Mapping[tuple[str, str], Channel]:
        """The channels with subscribers on this node, by app id and name."""
        return self._channels

    async def admit(self, app: App, connection: IConnection) -> Session | None:
        """Count a connection and open its session.

        Args:
            app: The app that the client connects to.
            connection: The client.

        Returns:
            The session, or None when the app has as many connections as it may.
        """
        socket_id = self._new_socket_id()
        self._reserved.add(socket_id)
        try:
            admitted = await self._store.connect(app.id, socket_id, app.max_connections)
        finally:
            self._reserved.discard(socket_id)
        if not admitted:
            return None
        meter = None if self._meter is None else self._meter.apps[app.id]
        session = self._sessions[socket_id] = Session(app, socket_id, connection, self, meter)
        self._notify(Connected(app_id=app.id, socket_id=socket_id))
        return session

    def _new_socket_id(self) -> str:
        """Draw an id that nobody can guess and no live connection has."""
        while True:
            high, low = divmod(secrets.randbits(62), 1 << 31)
            socket_id = f"{high}.{low}"
            if socket_id not in self._sessions and socket_id not in self._reserved:
                return socket_id

    def leave(self, session: Session) -> None:
        """End a session: its subscriptions, its sign-in, and its place among the connections."""
        if self._sessions.pop(session.socket_id, None) is None:
            return
        session.open = False
        app_id = session.app.id
        for name in list(session.channels):
            self.unsubscribe(session, name)
        if session.user is not None:
            key = (app_id, session.user.id)
            mine = self._users.get(key, set())
            mine.discard(session)
            if not mine:
                self._users.pop(key, None)
        self._client_event_rates.pop(session.socket_id, None)
        self._store.disconnect(app_id, session.socket_id).addErrback(
            lambda failure: self._log.failure("uncounting a connection", failure)
        )
        self._notify(Disconnected(app_id=app_id, socket_id=session.socket_id))

    def silence(self, session: Session) -> None:
        """Send a session what was published until now, and nothing more: it is being closed."""
        for name in session.channels:
            channel = self._channels.get((session.app.id, name))
            if channel is not None:
                channel.remove(session.socket_id)

    # What sessions do

    def subscribe(
        self, session: Session, channel: str, type_: ChannelType, member: Member | None
    ) -> Done:
        """Subscribe a session; it has checked that it may."""
        return self._run(session, self._subscribe(session, channel, type_, member))

    async def _subscribe(
        self, session: Session, name: str, type_: ChannelType, member: Member | None
    ) -> None:
        app_id, socket_id = session.app.id, session.socket_id
        channel = self._expect(session, name, type_)
        self._joining.add((socket_id, name))
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
            self._joining.discard((socket_id, name))
        if member is not None and joined.added and not joined.announced:
            payload = messages.member_added(name, member)
            self._publish("presence", Publication(app_id, name, payload, socket_id))
        if session.open:
            self._confirm(session, name, member, joined)
            channel.confirmed(socket_id)
        self._notify_joined(app_id, name, member, joined)
        if not session.open:  # It left while the store was being asked.
            self._drop(session, name)
            await self._leave(app_id, name, socket_id)
            return
        try:
            if type_.cached:
                await self._replay(session, name, channel)
        finally:
            if socket_id in channel:  # It may have left while the store was being asked.
                channel.welcome(socket_id, session.connection)

    def _expect(self, session: Session, name: str, type_: ChannelType) -> Channel:
        """Have the channel keep what is published from now on for a newcomer."""
        key = (session.app.id, name)
        channel = self._channels.get(key)
        if channel is None:
            channel = Channel(self._make_audience, type_.kind, session.meter)
            self._channels[key] = channel
        channel.expect(session.socket_id)
        return channel

    @staticmethod
    def _confirm(session: Session, name: str, member: Member | None, joined: Joined) -> None:
        if member is None:
            session.send(messages.subscription_succeeded(name))
        else:
            session.send(messages.presence_succeeded(name, joined.members))

    def _drop(self, session: Session, name: str) -> None:
        """Take a session off a channel, at once and on this node."""
        session.channels.pop(name, None)
        key, socket_id = (session.app.id, name), session.socket_id
        channel = self._channels.get(key)
        if channel is not None:
            channel.remove(socket_id)
            if not channel:
                del self._channels[key]
                self._broker.unsubscribe(*key)

    def _notify_joined(self, app_id: str, name: str, member: Member | None, joined: Joined) -> None:
        """Tell watchers; what they publish in answer reaches the new subscriber too."""
        if joined.occupied:
            self._notify(ChannelOccupied(app_id=app_id, channel=name))
        if member is not None and joined.added:
            self._notify(MemberAdded(app_id=app_id, channel=name, user_id=member.user_id))

    async def _replay(self, session: Session, name: str, channel: Channel) -> None:
        """Give a new subscriber what its cache channel remembers, unless it comes anyway."""
        app_id = session.app.id
        cached = await self._store.recall(app_id, name)
        if not session.open:
            return
        if cached is None:
            session.send(messages.cache_miss(name))
            self._notify(CacheMiss(app_id=app_id, channel=name))
            return
        payload = messages.event(cached.event, name, cached.data)
        if not channel.awaits(session.socket_id, payload):
            session.send(payload)

    def unsubscribe(self, session: Session, channel: str) -> Done:
        """End a session's subscription; nothing of the channel reaches it after this."""
        self._drop(session, channel)
        app_id, socket_id = session.app.id, session.socket_id
        if (socket_id, channel) in self._joining:
            # Who is joining leaves when that is done: the store is asked one after the other.
            return None
        return self._run(session, self._leave(app_id, channel, socket_id))

    async def _leave(self, app_id: str, name: str, socket_id: str) -> None:
        left: Left | None = await self._store.leave(app_id, name, socket_id)
        if left is None:
            return
        if left.removed is not None and not left.announced:
            payload = messages.member_removed(name, left.removed)
            self._publish("presence", Publication(app_id, name, payload))
        gone = () if left.removed is None else (left.removed,)
        self._notify_left(app_id, name, gone, left.vacated)

    def _notify_left(self, app_id: str, name: str, gone: Iterable[str], vacated: bool) -> None:
        for user_id in gone:
            self._notify(MemberRemoved(app_id=app_id, channel=name, user_id=user_id))
        if vacated:
            self._notify(ChannelVacated(app_id=app_id, channel=name))

    def take_change(self, change: Change) -> None:
        """Take what a shared store tells by itself, for this node's subscribers and watchers."""
        app_id, name = change.app_id, change.channel
        if isinstance(change, Abandoned):
            self._notify_left(app_id, name, change.removed, change.vacated)
            return
        if isinstance(change, MemberCame):
            payload = messages.member_added(name, change.member)
        else:
            payload = messages.member_removed(name, change.user_id)
        channel = self._channels.get((app_id, name))
        if channel is not None:
            channel.pass_over_unconfirmed()
            self._fanout.add(channel, payload, None)

    def client_event(self, session: Session, channel: str, event: str, data: str) -> Done:
        """Publish a client's event to the channel's other subscribers.

        Raises:
            ClientError: With 4301 when the client sends too many.
        """
        app_id, socket_id = session.app.id, session.socket_id
        rate = self._client_event_rates.get(socket_id)
        if rate is None:
            rate = RateLimit(session.app.client_events_per_second)
            self._client_event_rates[socket_id] = rate
        if not rate.allow(self._clock.seconds()):
            raise ClientError(
                f"The client event {event} was rejected: this connection may send "
                f"{rate.per_second} per second",
                Code.CLIENT_EVENT_RATE,
                limit="client_events_per_second",
            )
        member = session.channels[channel]
        user_id = None if member is None else member.user_id
        payload = messages.event(event, channel, data, user_id)
        self._publish("client", Publication(app_id, channel, payload, socket_id))
        self._notify(
            ClientEvent(
                app_id=app_id,
                channel=channel,
                event=event,
                data=data,
                socket_id=socket_id,
                user_id=user_id,
            )
        )
        return None

    def sign_in(self, session: Session, user: User) -> Done:
        """Make a session one of a user's."""
        self._users.setdefault((session.app.id, user.id), set()).add(session)
        return None

    def _run(self, session: Session, step: Coroutine[Any, Any, None]) -> Done:
        """Carry out a step of a session, which may have to wait for the store."""
        try:
            done = run(step)
        except Exception:  # noqa: BLE001 - _failed tells whose fault it is
            self._failed(Failure(), session)
            return None
        return done and done.addErrback(self._failed, session)

    def _failed(self, failure: Failure, session: Session) -> None:
        if failure.check(ClientError):
            session.refuse(cast(ClientError, failure.value))
            return
        self._log.failure(
            "carrying out a message of {socket_id}", failure, socket_id=session.socket_id
        )
        session.refuse(ClientError("The server could not do this now; try again"))

    # Publishing and delivering

    def publish(
        self,
        app: App,
        channels: Iterable[str],
        event: str,
        data: str,
        exclude: str | None = None,
        *,
        source: Source = "api",
    ) -> None:
        """Publish an event of the app's server to channels.

        Delivery: at most once; this node's subscribers do not wait for others'.

        Args:
            app: The app.
            channels: Their names, checked.
            event: The event's name.
            data: The event's data, as clients get it.
            exclude: The socket id of the one connection that must not get it.
            source: Who publishes.
        """
        for name in channels:
            payload = messages.event(event, name, data)
            self._publish(source, Publication(app.id, name, payload, exclude))
            # After it: what another node finds remembered is on its way there, or has come.
            if channel_type(name).cached:
                remembering = self._store.remember(app.id, name, event, data, self._cache_ttl)
                remembering.addErrback(
                    lambda failure: self._log.failure("remembering a cache event", failure)
                )

    def _publish(self, source: Source, publication: Publication) -> None:
        if self._meter is not None:
            self._meter.apps[publication.app_id].publications[source] += 1
        self._broker.publish(publication)

    def terminate(self, app: App, user_id: str) -> None:
        """Close every connection, on every node, that the user is signed in on."""
        self._broker.publish(Termination(app.id, user_id))

    def deliver(self, envelope: Envelope) -> None:
        """Take what the broker brings, for this node's connections."""
        if isinstance(envelope, Publication):
            channel = self._channels.get((envelope.app_id, envelope.channel))
            if channel is not None:
                self._fanout.add(channel, envelope.payload, envelope.exclude)
            elif self._meter is not None:
                self._meter.apps[envelope.app_id].fan_out.observe(0)
            return
        for session in list(self._users.get((envelope.app_id, envelope.user_id), ())):
            session.open = False
            session.connection.close(Code.UNAUTHORIZED, "You got disconnected by the app")

    # Watching

    def watch(self, watcher: Callable[[Notice], None]) -> None:
        """Call ``watcher`` with every notice; what it raises is logged and harms nobody."""
        self._watchers.append(watcher)

    def _notify(self, notice: Notice) -> None:
        for watcher in self._watchers:
            try:
                watcher(notice)
            except Exception:  # noqa: BLE001 - a watcher is somebody else's code
                self._log.failure("telling {watcher} of {notice}", watcher=watcher, notice=notice)
