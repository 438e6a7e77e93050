"""The signed-in users of this node, and the invalidations of their online state.

In an app with watchlists the store keeps each signed-in connection as a
subscription to the user's *online channel*. The store therefore knows whether a
user is online on any node, and reaping a dead node includes its users. All
publications to an online channel are invalidations: a node that receives one
asks the store whether the user is online.
"""

from collections.abc import Coroutine, Iterable
from typing import Any

from reverb.envelope import Publication
from reverb.interfaces import IBroker, IChannelStore
from reverb.protocol.messages import User
from reverb.protocol.names import ONLINE_PREFIX
from reverb.protocol.session import Session

UserKey = tuple[str, str]
"""An app's id and a user's id."""


class UserManager:
    """The users who are signed in on this node's connections.

    Args:
        broker: Carries invalidations to the nodes on which a user is watched.
        store: Records the signed-in connections of all nodes.

    Attributes:
        sessions: The sessions of each user, by app id and user id. A user
            without sessions has no entry.
    """

    def __init__(self, broker: IBroker, store: IChannelStore) -> None:
        self._broker = broker
        self._store = store
        self.sessions: dict[UserKey, set[Session]] = {}
        # The socket ids that are subscribed to an online channel, or are being subscribed to it.
        self._online: set[str] = set()
        # The socket ids in _online whose call of the store has not returned yet.
        self._joining: set[str] = set()
        # The users whose invalidation could not be sent to the other nodes.
        self._unpublished: set[UserKey] = set()

    def sizes(self) -> dict[str, int]:
        """Return how much the users take; see :meth:`reverb.hub.hub.Hub.sizes`."""
        return {
            "signed-in users": len(self.sessions),
            "online sessions": len(self._online),
            "sessions that go online": len(self._joining),
        }

    async def sign_in(self, session: Session, user: User) -> None:
        """Add a session to a user's sessions, unless it is one of them already.

        In an app with watchlists, also record the connection in the store.
        """
        app_id, socket_id = session.app.id, session.socket_id
        self.sessions.setdefault((app_id, user.id), set()).add(session)
        if not session.app.watchlists or socket_id in self._online:
            return
        self._online.add(socket_id)
        self._joining.add(socket_id)
        try:
            joined = await self._store.join(app_id, ONLINE_PREFIX + user.id, socket_id, None, 0)
        except BaseException:
            self._online.discard(socket_id)
            raise
        finally:
            self._joining.discard(socket_id)
        if joined.occupied:
            self.publish_invalidation(app_id, user.id)
        if not session.open:  # The session left during the call of the store.
            await self._leave(app_id, user.id, socket_id)

    def leave(self, session: Session) -> Coroutine[Any, Any, None] | None:
        """Remove a session from its user's sessions on this node.

        Returns:
            A coroutine that removes the connection from the store; None when the
            store does not have the connection, or when :meth:`sign_in` is still
            in progress, and will remove it from the store.
        """
        user, app_id, socket_id = session.user, session.app.id, session.socket_id
        if user is None:
            return None
        sessions = self.sessions.get((app_id, user.id), set())
        sessions.discard(session)
        if not sessions:
            self.sessions.pop((app_id, user.id), None)
        if socket_id not in self._online or socket_id in self._joining:
            # Two calls of the store for one connection must not overlap, so sign_in() removes it.
            return None
        return self._leave(app_id, user.id, socket_id)

    async def _leave(self, app_id: str, user_id: str, socket_id: str) -> None:
        self._online.discard(socket_id)
        left = await self._store.leave(app_id, ONLINE_PREFIX + user_id, socket_id)
        if left is not None and left.vacated:
            self.publish_invalidation(app_id, user_id)

    # Invalidations

    def publish_invalidation(self, app_id: str, user_id: str) -> None:
        """Publish the invalidation of a user's online state.

        The nodes on which the user is watched then ask the store for the state.
        """
        if not self._broker.connected:
            self._unpublished.add((app_id, user_id))
        self._publish([(app_id, user_id)])

    def is_known_offline(self, app_id: str, user_id: str) -> bool:
        """Return whether a user is offline as far as this node knows.

        That is the case if the user's online state changed on this node while
        the other nodes were out of reach, and the user has no session here now.
        """
        key = (app_id, user_id)
        return key in self._unpublished and key not in self.sessions

    def publish_all_invalidations(self) -> None:
        """Publish all invalidations of this node that other nodes may have missed.

        These are one for each user who is online here, and one for each user
        whose online state changed here while the other nodes were out of reach.
        """
        online = {
            key
            for key, sessions in self.sessions.items()
            if any(session.socket_id in self._online for session in sessions)
        }
        unpublished, self._unpublished = self._unpublished, set()
        self._publish(online | unpublished)

    def _publish(self, keys: Iterable[UserKey]) -> None:
        for app_id, user_id in keys:
            self._broker.publish(Publication(app_id, ONLINE_PREFIX + user_id, b""))
