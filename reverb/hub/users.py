"""Who has signed in on this node, and what the other nodes know of it.

Where an app has watchlists, each connection of a user who has signed in is a
subscription to the user's *online channel* in the store. So the store alone
says who is online, and takes back what a dead node has left. Nobody gets
anything through that channel but hints: that there is reason to look.
"""

from collections.abc import Coroutine, Iterable
from typing import Any

from reverb.envelope import Publication
from reverb.interfaces import IBroker, IChannelStore
from reverb.protocol.messages import User
from reverb.protocol.names import ONLINE_PREFIX
from reverb.protocol.session import Session

UserKey = tuple[str, str]
"""An app's id and a user's."""


class UserManager:
    """The users who have signed in on this node's connections.

    Args:
        broker: Carries hints to the nodes where somebody watches a user.
        store: Answers who is online across nodes.

    Attributes:
        sessions: The sessions of each user; a user without any has no entry.
    """

    def __init__(self, broker: IBroker, store: IChannelStore) -> None:
        self._broker = broker
        self._store = store
        self.sessions: dict[UserKey, set[Session]] = {}
        # The connections that count in the store, and those that it is being asked to count.
        self._online: set[str] = set()
        self._coming: set[str] = set()
        # Users of whom the other nodes could not be given a hint.
        self._unheard: set[UserKey] = set()

    async def sign_in(self, session: Session, user: User) -> None:
        """Make a session one of a user's; it may be that already."""
        app_id, socket_id = session.app.id, session.socket_id
        self.sessions.setdefault((app_id, user.id), set()).add(session)
        if not session.app.watchlists or socket_id in self._online:
            return
        self._online.add(socket_id)
        self._coming.add(socket_id)
        try:
            joined = await self._store.join(app_id, ONLINE_PREFIX + user.id, socket_id, None, 0)
        except BaseException:
            self._online.discard(socket_id)
            raise
        finally:
            self._coming.discard(socket_id)
        if joined.occupied:
            self.publish_invalidation(app_id, user.id)
        if not session.open:  # It left while the store was being asked.
            await self._leave(app_id, user.id, socket_id)

    def leave(self, session: Session) -> Coroutine[Any, Any, None] | None:
        """Take a session off its user at once, on this node.

        Returns:
            What remains to be done with the store; None when there is nothing,
            or it is already under way.
        """
        user, app_id, socket_id = session.user, session.app.id, session.socket_id
        if user is None:
            return None
        sessions = self.sessions.get((app_id, user.id), set())
        sessions.discard(session)
        if not sessions:
            self.sessions.pop((app_id, user.id), None)
        if socket_id not in self._online or socket_id in self._coming:
            # Who is coming leaves when that is done: the store is asked one after the other.
            return None
        return self._leave(app_id, user.id, socket_id)

    async def _leave(self, app_id: str, user_id: str, socket_id: str) -> None:
        self._online.discard(socket_id)
        left = await self._store.leave(app_id, ONLINE_PREFIX + user_id, socket_id)
        if left is not None and left.vacated:
            self.publish_invalidation(app_id, user_id)

    # Hints

    def publish_invalidation(self, app_id: str, user_id: str) -> None:
        """Have the nodes where somebody watches a user look whether the user is online."""
        if not self._broker.connected:
            self._unheard.add((app_id, user_id))
        self._hint([(app_id, user_id)])

    def is_known_offline(self, app_id: str, user_id: str) -> bool:
        """Tell whether a user came or left while the others could not be reached, and is not here.

        As far as this node knows, such a user is offline.
        """
        key = (app_id, user_id)
        return key in self._unheard and key not in self.sessions

    def publish_all_invalidations(self) -> None:
        """Have them look at everybody of whom they may have missed a hint of this node."""
        here = {
            key
            for key, sessions in self.sessions.items()
            if any(session.socket_id in self._online for session in sessions)
        }
        unheard, self._unheard = self._unheard, set()
        self._hint(here | unheard)

    def _hint(self, keys: Iterable[UserKey]) -> None:
        for app_id, user_id in keys:
            self._broker.publish(Publication(app_id, ONLINE_PREFIX + user_id, b""))
