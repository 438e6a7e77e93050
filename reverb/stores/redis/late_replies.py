"""Limits how long the store waits for Redis, and reconciles what it has answered by itself.

If Redis does not reply in time, the store answers a client from this node's local state, as in
degraded mode. The session goes on, and Redis handles the command later. When the last overdue reply
has arrived, the store writes the channels that it has answered for again. Until then their member
replicas apply no change, so no member is announced twice.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from reverb.brokers.reply_deadlines import ReplyDeadlines
from reverb.protocol.changes import StoreChange, StoreRestored
from reverb.redis.resp import Argument
from reverb.redis.scripting import Script
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis.connection_sync import ConnectionSync
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.registration import Registration

T = TypeVar("T")


class LateReplies:
    """Waits for Redis only for a limited time, and records what the local state has answered.

    Args:
        session: This node's session in Redis.
        deadlines: Limits the waits.
        local_state: The connections and subscriptions of this node.
        connections: Writes the number of connections of each app to Redis.
        registration: Writes channels to Redis again.
        on_change: Called with :class:`StoreRestored` when Redis has caught up.
    """

    def __init__(
        self,
        session: RedisSession,
        deadlines: ReplyDeadlines,
        local_state: LocalState,
        *,
        connections: ConnectionSync,
        registration: Registration,
        on_change: Callable[[StoreChange], None],
    ) -> None:
        self._session = session
        self._deadlines = deadlines
        self._local_state = local_state
        self._connections = connections
        self._registration = registration
        self._on_change = on_change
        # What the local state has answered for since Redis last caught up.
        self._apps: set[str] = set()
        self._channels: set[ChannelKey] = set()
        deadlines.on_caught_up = self._reconcile

    def call(self, script: Script, *arguments: Argument) -> "Deferred[Any]":
        """Run a script within the session.

        Returns:
            Fires and fails as :meth:`RedisSession.call` returns and raises. Fails with
            ReplyOverdueError if Redis does not reply in time.
        """
        return self.limit(self._session.call(script, *arguments))

    def limit(self, operation: "Coroutine[Deferred[Any], Any, T]") -> "Deferred[T]":
        """Run an operation; the Deferred fails with ReplyOverdueError if it takes too long."""
        return self._deadlines.limit(Deferred.fromCoroutine(operation))

    def answered_connect(self, app_id: str) -> None:
        """Record that the local state has answered whether a connection is admitted."""
        if self._session.token is not None:  # Otherwise the next registration reconciles.
            self._apps.add(app_id)

    def answered_channel(self, key: ChannelKey) -> None:
        """Record that the local state has answered a join or a leave.

        The member replica applies no change until :meth:`_reconcile` loads a snapshot.
        """
        if self._session.token is not None:
            self._channels.add(key)
            replica = self._local_state.replicas.get(key)
            if replica is not None:
                replica.suspend()

    def _reconcile(self) -> None:
        apps, self._apps = self._apps, set()
        channels, self._channels = self._channels, set()
        if self._session.token is not None:
            for app_id in apps:
                self._connections.resync(app_id)
            self._registration.reconcile(channels)
            self._on_change(StoreRestored())
