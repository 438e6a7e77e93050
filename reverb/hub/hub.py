"""The hub: the sessions and channels of this node, and the operations on them.

:mod:`reverb.hub.subscriptions` adds and removes subscriptions,
:mod:`reverb.hub.counts` sends the number of subscriptions, :mod:`reverb.hub.users`
tracks signed-in users, and :mod:`reverb.hub.watchlists` sends the presence of watched
users. The hub passes each publication to the broker. On each node with subscribers,
the broker passes the publication to :meth:`Hub.deliver`.
"""

import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.apps import App
from reverb.deferred import returns_deferred
from reverb.envelope import CountChanged, Envelope, Publication, Termination
from reverb.hub.channel import Channel, FanoutTargetFactory, SequentialTarget
from reverb.hub.counts import CountManager
from reverb.hub.departures import DepartureQueue
from reverb.hub.fanout import Fanout
from reverb.hub.publisher import Publisher
from reverb.hub.rate_limit import RateLimit
from reverb.hub.steps import StepQueue
from reverb.hub.subscriptions import SubscriptionManager
from reverb.hub.users import UserManager
from reverb.hub.watchlists import WatchlistManager
from reverb.interfaces import IApps, IBroker, IChannelStore, IConnection
from reverb.meter import Meter, Source
from reverb.protocol import effects, messages
from reverb.protocol.changes import ChannelReaped, StoreChange, StoreRestored
from reverb.protocol.codes import ClientError, Code
from reverb.protocol.messages import Member, User
from reverb.protocol.names import ONLINE_PREFIX, ChannelType, channel_type
from reverb.protocol.notices import Connected, Disconnected, Notice
from reverb.protocol.session import Completion, Session
from reverb.throttled_log import FailureLog


class Hub:
    """This node's connections and channels.

    Args:
        broker: Carries publications between nodes; the owner of the hub starts the
            broker with :meth:`deliver` as the callback.
        store: Holds the state of channels across all nodes.
        apps: The source of apps.
        clock: Schedules the hub's work in later turns of the reactor; measures the time for
            the rate limits.
        cache_ttl: Seconds after which the cached event of a cache channel expires.
        make_fanout_target: Creates the fanout target of a channel; a transport
            may supply targets that are faster than :class:`SequentialTarget`.
        meter: The node's meter.
    """

    def __init__(
        self,
        *,
        broker: IBroker,
        store: IChannelStore,
        apps: IApps,
        clock: IReactorTime,
        cache_ttl: int,
        make_fanout_target: FanoutTargetFactory = SequentialTarget,
        meter: Meter,
    ) -> None:
        self._log = FailureLog(Logger())
        self._broker = broker
        self._store = store
        self._clock = clock
        self._cache_ttl = cache_ttl
        self._meter = meter
        self._fanout = Fanout(clock, make_fanout_target)
        self._publisher = Publisher(broker, meter)
        self._steps = StepQueue()
        self._departures = DepartureQueue(clock, self._leave_ended)
        self._reserved: set[str] = set()
        self._sessions: dict[str, Session] = {}
        self._channels: dict[tuple[str, str], Channel] = {}
        self._client_event_rates: dict[str, RateLimit] = {}
        self._counts = CountManager(
            channels=self._channels,
            broker=broker,
            store=store,
            apps=apps,
            clock=clock,
            fanout=self._fanout,
            notify=self._publisher.notify,
        )
        self._subscriptions = SubscriptionManager(
            channels=self._channels,
            broker=broker,
            store=store,
            fanout=self._fanout,
            counts=self._counts,
            make_fanout_target=make_fanout_target,
            publisher=self._publisher,
        )
        self._users = UserManager(broker, store, clock)
        self._watchlists = WatchlistManager(
            broker=broker, store=store, clock=clock, is_known_offline=self._users.is_known_offline
        )

    # Connections

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The admitted sessions, by socket id."""
        return self._sessions

    @property
    def channels(self) -> Mapping[tuple[str, str], Channel]:
        """The channels with subscribers on this node, by app id and name."""
        return self._channels

    def sizes(self) -> dict[str, int]:
        """Return how many objects of each kind the hub keeps, by a readable name of the kind.

        After the last connection has ended, all numbers return to 0. The number of
        counted channels may return to 0 some seconds later than the other numbers, and
        does not decrease while the broker is disconnected.
        """
        return {
            "sessions": len(self._sessions),
            "connections being admitted": len(self._reserved),
            "rate limits": len(self._client_event_rates),
            "channels": len(self._channels),
            "steps in flight": len(self._steps),
            "sessions that leave": len(self._departures),
            **self._counts.sizes(),
            **self._users.sizes(),
            **self._watchlists.sizes(),
        }

    async def admit(self, app: App, connection: IConnection) -> Session | None:
        """Count a connection, and open its session.

        Args:
            app: The app that the client connects to.
            connection: The client's connection.

        Returns:
            The session, or None when the app has reached ``max_connections``.
        """
        socket_id = self._new_socket_id()
        self._reserved.add(socket_id)
        try:
            admitted = await self._store.connect(app.id, socket_id, app.max_connections)
        finally:
            self._reserved.discard(socket_id)
        if not admitted:
            return None
        session = Session(app, socket_id, connection, self, self._meter.apps[app.id])
        self._sessions[socket_id] = session
        self._publisher.notify(Connected(app_id=app.id, socket_id=socket_id))
        return session

    def _new_socket_id(self) -> str:
        """Generate an unguessable socket id that no connection of this node has."""
        while True:
            high, low = divmod(secrets.randbits(62), 1 << 31)
            socket_id = f"{high}.{low}"
            if socket_id not in self._sessions and socket_id not in self._reserved:
                return socket_id

    def end_session(self, session: Session) -> None:
        """Remove a session that has ended: its subscriptions, its sign-in and its connection.

        The hub removes the session from this node at once. If the session has many subscriptions,
        the hub removes the subscriptions in portions. The hub removes the connection from the store
        at once. If an operation of the session is in progress, the hub removes the subscriptions
        and the sign-in from the store after the operation.
        """
        app_id, socket_id = session.app.id, session.socket_id
        del self._sessions[socket_id]
        self._fanout.send_pending(session)
        if self._departures.take(len(session.channels)):
            for name in session.channels:
                self._subscriptions.remove(session, name)
        self._users.remove(session)
        self._watchlists.unwatch(session)
        self._client_event_rates.pop(socket_id, None)
        self._steps.run_after(session, lambda: self._leave_store(session))
        self._store.disconnect(app_id, socket_id).addErrback(
            lambda failure: self._log.failure("failed to stop counting a connection", failure)
        )
        self._publisher.notify(Disconnected(app_id=app_id, socket_id=socket_id))

    def _leave_store(self, session: Session) -> None:
        """Remove the subscriptions and the sign-in of a session from the store."""
        self._departures.add(session)
        if self._users.is_online(session):
            self._steps.run(session, self._users.leave(session))

    def _leave_ended(self, session: Session, name: str) -> Completion:
        return self.unsubscribe(session, name, session.channels[name])

    def mute(self, session: Session) -> None:
        """Send a closing session the pending frames of its channels, and no later frames.

        If the session has too many channels for one turn of the reactor, the channels do not remove
        the session yet. They may still send frames to the closing connection; the transport drops
        such frames.
        """
        self._fanout.send_pending(session)
        if self._departures.take(len(session.channels)):
            for name in session.channels:
                channel = self._channels.get((session.app.id, name))
                if channel is not None:
                    channel.remove(session.socket_id)

    # Operations of sessions

    def subscribe(
        self, session: Session, channel: str, type_: ChannelType, member: Member | None
    ) -> Completion:
        """Subscribe a session to a channel; the session has already checked the authorization."""
        joining = self._subscriptions.join(session, channel, type_, member)
        if member is not None:
            joining = self._as_member(session, channel, member, joining)
        return self._steps.run(session, joining, channel)

    async def _as_member(
        self, session: Session, channel: str, member: Member, joining: Coroutine[Any, Any, None]
    ) -> None:
        """Run the subscription of a session to a presence channel, as a session of the user."""
        self._users.add_member(session, member.user_id)
        try:
            await joining
        finally:
            if channel not in session.channels:  # The subscription has failed.
                self._users.remove_member(session, member.user_id)

    def unsubscribe(self, session: Session, channel: str, member: Member | None) -> Completion:
        """End a session's subscription; the session receives no later event of the channel."""
        if member is not None:
            self._users.remove_member(session, member.user_id)
        self._subscriptions.remove(session, channel)
        return self._steps.run(session, self._subscriptions.leave(session, channel))

    def store_changed(self, change: StoreChange) -> None:
        """Handle a change that a shared store reports.

        Depending on the change, the hub sends messages to the subscribers of this
        node, notifies the listeners, or publishes invalidations.
        """
        if isinstance(change, StoreRestored):
            self._counts.store_restored()
            self._users.publish_all_invalidations()
            self._watchlists.recheck()
        elif not isinstance(change, ChannelReaped):
            self._subscriptions.deliver_member_change(change)
        elif not change.channel.startswith(ONLINE_PREFIX):
            self._subscriptions.channel_reaped(change)
        elif change.vacated:
            self._users.publish_invalidation(
                change.app_id, change.channel.removeprefix(ONLINE_PREFIX)
            )

    def client_event(
        self, session: Session, channel: str, event: str, data: str | None
    ) -> Completion:
        """Publish a client event to the channel's other subscribers.

        Raises:
            ClientError: With code 4301 when the connection exceeds its rate limit.
        """
        app_id, socket_id = session.app.id, session.socket_id
        rate = self._client_event_rates.get(socket_id)
        if rate is None:
            rate = RateLimit(session.app.client_events_per_second)
            self._client_event_rates[socket_id] = rate
        if not rate.allow(self._clock.seconds()):
            raise ClientError(
                f"The client event {event} was rejected: client_events_per_second is "
                f"{rate.per_second} for one connection",
                Code.CLIENT_EVENT_RATE,
                limit="client_events_per_second",
            )
        follows = effects.of_client_event(
            app_id, channel, socket_id, session.channels[channel], event=event, data=data
        )
        self._publisher.publish_effects("client", app_id, channel, follows)
        self._publisher.notify_effects(follows)
        return None

    def sign_in(self, session: Session, user: User) -> Completion:
        """Add a session to a user's sessions, and watch the users on the user's watchlist."""
        return self._steps.run(session, self._sign_in(session, user))

    async def _sign_in(self, session: Session, user: User) -> None:
        await self._users.sign_in(session, user)
        await self._watchlists.watch(session, user.watchlist)

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
    ) -> bool:
        """Publish an event of the app's server to channels.

        Delivery: at most once. Delivery to this node's subscribers does not
        wait for other nodes.

        Args:
            app: The app.
            channels: The names of the channels, validated.
            event: The event's name.
            data: The event's data, as clients receive it.
            exclude: The socket id of the one connection that must not receive
                the event; None to exclude none.
            source: The source under which the meter counts the publications.

        Returns:
            True when the publications to all channels were sent to the other
            nodes, or there can be no other nodes. False when at least one publication
            was delivered on this node only.
        """
        everywhere = True
        for name in channels:
            payload = messages.event(event, name, data)
            if not self._publisher.publish(source, Publication(app.id, name, payload, exclude)):
                everywhere = False
            # Cache the event only after publishing: when another node finds the cached event, the
            # broker has already delivered the publication to that node, or is about to.
            if channel_type(name).cached:
                caching = self._store.cache_event(app.id, name, event, data, self._cache_ttl)
                caching.addErrback(
                    lambda failure: self._log.failure("failed to cache an event", failure)
                )
        return everywhere

    def terminate(self, app: App, user_id: str) -> bool:
        """Close, on all nodes, the connections of a user.

        The connections of a user are signed in as the user, or have joined a presence channel as
        the user.

        Returns:
            True when the termination was sent to the other nodes, or there can be
            no other nodes. False when the termination was delivered on this node only.
        """
        return self._broker.publish(Termination(app.id, user_id))

    def deliver(self, envelope: Envelope) -> None:
        """Handle an envelope from the broker.

        The hub sends a publication to the subscribers of this node, asks the store
        for the state that an invalidation names, and closes the connections of the
        user that a termination names.
        """
        if isinstance(envelope, Publication):
            channel = self._channels.get((envelope.app_id, envelope.channel))
            if channel is not None:
                self._fanout.add(channel, envelope.payload, envelope.exclude)
            elif envelope.channel.startswith(ONLINE_PREFIX):
                self._watchlists.invalidate(
                    envelope.app_id, envelope.channel.removeprefix(ONLINE_PREFIX)
                )
            elif envelope.app_id in self._meter.apps:  # The bus may carry ids of unknown apps.
                self._meter.apps[envelope.app_id].fan_out.observe(0)
            return
        if isinstance(envelope, CountChanged):
            self._counts.invalidate(envelope)
            return
        self._users.terminate(envelope.app_id, envelope.user_id)

    @returns_deferred
    async def flush(self) -> None:
        """Remove the subscriptions of ended sessions, and send delayed subscription counts.

        Called when the node is about to stop.

        Returns:
            Fires when the subscriptions of all ended sessions are removed, and the hub has begun to
            ask the store for the delayed subscription counts. The Deferred does not wait until the
            store returns the counts.
        """
        await self._departures.wait_until_empty()
        self._counts.flush()

    # Listeners

    def add_listener(self, listener: Callable[[Notice], None]) -> None:
        """Call a listener with every notice from now on.

        Args:
            listener: Called synchronously. An exception that the listener raises is
                logged and does not affect the hub or other listeners.
        """
        self._publisher.add_listener(listener)
