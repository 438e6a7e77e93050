"""Writes this node's numbers of connections to Redis, in each session before they change."""

from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

from reverb.redis.session import RedisSession
from reverb.stores.redis.channel_sync import REDIS_ERRORS
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.sync_lua import SYNC_CONNECTIONS


class ConnectionSync:
    """Writes the number of an app's connections before the session's first command that changes it.

    Args:
        local_state: The connections of this node.
        session: This node's session in Redis.
    """

    def __init__(self, local_state: LocalState, session: RedisSession) -> None:
        self._local_state = local_state
        self._session = session
        # The ids of the apps whose number has been sent in this session; None without a session.
        self._sent: set[str] | None = None

    def begin(self) -> None:
        """Begin to write the numbers: a session has just begun."""
        self._sent = set()

    def end(self) -> None:
        """Stop: the session has ended."""
        self._sent = None

    def send_first(self, app_id: str) -> None:
        """Write an app's number, unless this session has written it.

        The caller changes the local state afterwards, and sends a command that changes the number.
        """
        for reply in self.sync([app_id]):
            reply.addErrback(lambda failure: failure.trap(*REDIS_ERRORS))

    def sync(self, app_ids: Iterable[str]) -> "Iterator[Deferred[Any]]":
        """Write the numbers of apps, except those that this session has written.

        Yields:
            One Deferred for each number that is sent. It fires when Redis has it.
        """
        for app_id in app_ids:
            if self._sent is not None and app_id not in self._sent:
                self._sent.add(app_id)
                count = len(self._local_state.connections.get(app_id, ()))
                yield self._session.run(SYNC_CONNECTIONS, app_id, count)
