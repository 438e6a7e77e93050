"""The users of this node's connections, and the invalidations of their online state.

A connection belongs to a user by a sign-in, or as a member of a presence channel. The app's server
has signed both.

In an app with watchlists the store keeps each signed-in connection as a
subscription to the user's *online channel*. The store therefore knows whether a
user is online on any node. When the store reaps a dead node, it removes the node's
subscriptions to online channels. All publications to an online channel are
invalidations: a node that receives such a publication asks the store whether the user
is online.
"""

from twisted.internet.interfaces import IReactorTime

from reverb.envelope import Publication
from reverb.interfaces import IBroker, IChannelStore
from reverb.portions import run_in_portions
from reverb.protocol.codes import Code
from reverb.protocol.messages import User
from reverb.protocol.names import ONLINE_PREFIX
from reverb.protocol.session import Session

UserKey = tuple[str, str]
"""An app's id and a user's id."""
_PORTION = 100
"""The most users that this node invalidates in one turn of the reactor after a store outage."""

_CLOSED_PER_TURN = 50
"""The most connections of a terminated user that this node closes in one turn of the reactor."""


class UserManager:
    """The users of this node's connections.

    Args:
        broker: Carries invalidations to the nodes on which a user is watched.
        store: Knows the signed-in connections on all nodes.
        clock: Schedules the portions of invalidations that the manager publishes after a
            store outage.

    Attributes:
        sessions: The sessions of each user, by app id and user id. Users
            without sessions are not in the dict.
    """

    def __init__(self, broker: IBroker, store: IChannelStore, clock: IReactorTime) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self.sessions: dict[UserKey, set[Session]] = {}
        # The sessions that are members of presence channels as a user, each with the number of
        # these channels. A user or a session without such channels is not in the dict.
        self._member_sessions: dict[UserKey, dict[Session, int]] = {}
        # The socket ids that are subscribed to an online channel, or are being subscribed to it.
        self._online: set[str] = set()
        # The users whose invalidation could not be sent to the other nodes.
        self._unpublished: set[UserKey] = set()

    def sizes(self) -> dict[str, int]:
        """Return how many users and sessions are kept; see :meth:`reverb.hub.hub.Hub.sizes`."""
        return {
            "signed-in users": len(self.sessions),
            "presence users": len(self._member_sessions),
            "online sessions": len(self._online),
        }

    async def sign_in(self, session: Session, user: User) -> None:
        """Add a session to a user's sessions; adding the session again changes nothing.

        In an app with watchlists, also record the connection in the store.
        """
        app_id, socket_id = session.app.id, session.socket_id
        self.sessions.setdefault((app_id, user.id), set()).add(session)
        if not session.app.watchlists or socket_id in self._online:
            return
        self._online.add(socket_id)
        try:
            joined = await self._store.join(app_id, ONLINE_PREFIX + user.id, socket_id, None, 0)
        except BaseException:
            self._online.discard(socket_id)
            raise
        if joined.occupied:
            self.publish_invalidation(app_id, user.id)

    def remove(self, session: Session) -> None:
        """Remove a session from its user's sessions on this node."""
        if session.user is None:
            return
        key = (session.app.id, session.user.id)
        sessions = self.sessions.get(key, set())
        sessions.discard(session)
        if not sessions:
            self.sessions.pop(key, None)

    def is_online(self, session: Session) -> bool:
        """Return whether a session is, or is being, subscribed to its user's online channel."""
        return session.socket_id in self._online

    async def leave(self, session: Session) -> None:
        """Remove a signed-in connection from the store.

        If no other connection of the user is signed in, publish an invalidation.
        """
        self._online.discard(session.socket_id)
        if session.user is None:
            return
        app_id, user_id = session.app.id, session.user.id
        left = await self._store.leave(app_id, ONLINE_PREFIX + user_id, session.socket_id)
        if left is not None and left.vacated:
            self.publish_invalidation(app_id, user_id)

    # Members of presence channels, and terminations

    def add_member(self, session: Session, user_id: str) -> None:
        """Count a presence channel of which a session is, or is becoming, a member as a user."""
        sessions = self._member_sessions.setdefault((session.app.id, user_id), {})
        sessions[session] = sessions.get(session, 0) + 1

    def remove_member(self, session: Session, user_id: str) -> None:
        """Stop counting one presence channel that :meth:`add_member` has counted."""
        key = (session.app.id, user_id)
        sessions = self._member_sessions[key]
        sessions[session] -= 1
        if not sessions[session]:
            del sessions[session]
            if not sessions:
                del self._member_sessions[key]

    def terminate(self, app_id: str, user_id: str) -> None:
        """Close this node's connections of a user, in portions."""
        key = (app_id, user_id)
        sessions = {*self.sessions.get(key, ()), *self._member_sessions.get(key, ())}
        run_in_portions(self._clock, list(sessions), _close_terminated, size=_CLOSED_PER_TURN)

    # Invalidations

    def publish_invalidation(self, app_id: str, user_id: str) -> None:
        """Publish the invalidation of a user's online state.

        The nodes on which the user is watched then ask the store whether the user is online.
        """
        if not self._broker.connected:
            self._unpublished.add((app_id, user_id))
        self._publish((app_id, user_id))

    def is_known_offline(self, app_id: str, user_id: str) -> bool:
        """Return whether a user is offline as far as this node knows.

        A user is known to be offline if the user's online state changed on this
        node while the other nodes were out of reach, and the user has no session on
        this node now.
        """
        key = (app_id, user_id)
        return key in self._unpublished and key not in self.sessions

    def publish_all_invalidations(self) -> None:
        """Publish all invalidations of this node that other nodes may have missed.

        Publishes one invalidation for each user who is online on this node, and one
        for each user whose online state changed on this node while the other nodes
        were out of reach.
        """
        unpublished, self._unpublished = self._unpublished, set()

        def publish(key: UserKey) -> None:
            sessions = self.sessions.get(key, ())
            if key in unpublished or any(one.socket_id in self._online for one in sessions):
                self._publish(key)

        keys = [*self.sessions, *(unpublished - self.sessions.keys())]
        run_in_portions(self._clock, keys, publish, size=_PORTION)

    def _publish(self, key: UserKey) -> None:
        app_id, user_id = key
        self._broker.publish(Publication(app_id, ONLINE_PREFIX + user_id, b""))


def _close_terminated(session: Session) -> None:
    session.close(Code.UNAUTHORIZED, "You got disconnected by the app")
