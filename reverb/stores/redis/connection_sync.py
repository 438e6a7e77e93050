"""Writes to Redis how many connections each app has to this node, once in each session."""

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

from reverb.redis.session import RedisSession
from reverb.stores.redis.channel_sync import REDIS_ERRORS
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.sync_lua import SYNC_CONNECTIONS


class ConnectionSync:
    """Writes an app's number of connections to Redis, before the session changes the number.

    Args:
        local_state: The connections and subscriptions of this node.
        session: This node's session in Redis.
    """

    def __init__(self, local_state: LocalState, session: RedisSession) -> None:
        self._local_state = local_state
        self._session = session
        # The ids of the apps whose number this session has sent; None if there is no session.
        self._sent: set[str] | None = None

    def begin(self) -> None:
        """Mark each app's number of connections as not written: a session has just begun."""
        self._sent = set()

    def end(self) -> None:
        """Write no further number of connections, because the session has ended."""
        self._sent = None

    def send_first(self, app_id: str) -> None:
        """Write the number of an app's connections, unless this session has written it.

        Call this method before a connection of the app is added or removed, in the local state and
        in Redis.
        """
        for reply in self.sync([app_id]):
            reply.addErrback(lambda failure: failure.trap(*REDIS_ERRORS))

    def resync(self, app_id: str) -> None:
        """Correct the number of an app's connections in Redis; do nothing in degraded mode."""
        if self._session.token is not None:
            reply = self._write(app_id)
            reply.addErrback(lambda failure: failure.trap(*REDIS_ERRORS))

    def _write(self, app_id: str) -> "Deferred[Any]":
        count = len(self._local_state.connections.get(app_id, ()))
        return self._session.run(SYNC_CONNECTIONS, app_id, count)

    def sync(self, app_ids: Iterable[str]) -> "Iterator[Deferred[Any]]":
        """Write each app's number of connections, unless this session has written it.

        Yields:
            A Deferred for each number that is sent, which fires when Redis has stored the number.
        """
        for app_id in app_ids:
            if self._sent is not None and app_id not in self._sent:
                self._sent.add(app_id)
                yield self._write(app_id)
