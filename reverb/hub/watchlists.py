"""Watchlists: sends ``pusher_internal:watchlist_events`` to the sessions that watch users.

An invalidation says that a user's online state may have changed. A node that
receives an invalidation asks the store whether the user is online. Because
invalidations may get lost, each node also asks the store at intervals. For each
watched user, a node remembers the online state that it last sent to the sessions. If
the store's answer differs from the state that was sent last, the node sends the new
state to the sessions that watch the user.
Source: Pusher's documentation, "Watchlist events".
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.interfaces import IBroker, IChannelStore, StoreRefusedError
from reverb.portions import run_in_portions
from reverb.protocol import messages
from reverb.protocol.names import ONLINE_PREFIX
from reverb.protocol.session import Session
from reverb.throttled_log import FailureLog

_RECHECK_INTERVAL = 30
"""Seconds between two checks of all watched users, including those without an invalidation."""
_CHUNK_SIZE = 500
"""The largest number of users in one check; the memory store takes 2 ms for such a query."""


class _Watchlist:
    """The users that one session watches.

    Attributes:
        initialized: Whether the session has received the initial state of all
            the users. Before the initial state, the session receives no change of a
            user's state.
    """

    __slots__ = ("initialized", "session", "watched")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.watched: list[_WatchedUser] = []
        self.initialized = False


class _WatchedUser:
    """A user on at least one watchlist of this node.

    Attributes:
        online: Whether the user is online, as last sent to the watching
            sessions; None until the store has answered for the first time.
        watchlists: The watchlists that contain the user.
    """

    __slots__ = ("online", "user_id", "watchlists")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.online: bool | None = None
        self.watchlists: set[_Watchlist] = set()

    @property
    def channel(self) -> str:
        return ONLINE_PREFIX + self.user_id


class WatchlistManager:
    """The watchlists of this node's sessions.

    Args:
        broker: Carries the invalidations of other nodes.
        store: Knows which users are online on any node.
        clock: Schedules the queries that ask the store which watched users are online.
        is_known_offline: Called with the ids of an app and a user; returns
            whether the user is offline as far as this node knows. The manager calls
            ``is_known_offline`` for each user whom the store's answer omits.
    """

    def __init__(
        self,
        *,
        broker: IBroker,
        store: IChannelStore,
        clock: IReactorTime,
        is_known_offline: Callable[[str, str], bool],
    ) -> None:
        self._log = FailureLog(Logger())
        self._broker = broker
        self._store = store
        self._clock = clock
        self._is_known_offline = is_known_offline
        self._watchlists: dict[str, _Watchlist] = {}
        self._watched: dict[tuple[str, str], _WatchedUser] = {}
        # By app id, the users to check with the store, in the order of their invalidation.
        self._stale: dict[str, dict[_WatchedUser, None]] = {}
        self._check_waiters: list[Deferred[None]] = []
        self._rechecking = LoopingCall(self.recheck)
        self._rechecking.clock = clock

    def sizes(self) -> dict[str, int]:
        """Return how many watchlists and users are kept; see :meth:`reverb.hub.hub.Hub.sizes`."""
        return {"watchlists": len(self._watchlists), "watched users": len(self._watched)}

    async def watch(self, session: Session, user_ids: tuple[str, ...]) -> None:
        """Send a session the online state of the given users now, and each later change.

        The given users replace the session's previous watchlist. The coroutine is done
        when the store has answered and the users' online state has been sent.
        """
        self.unwatch(session)
        if not user_ids or not session.open:
            return
        watchlist = self._add(session, user_ids)
        unknown = [watched for watched in watchlist.watched if watched.online is None]
        try:
            await self._load(session.app.id, unknown)
            await self._wait_for_checks(session.app.id, watchlist.watched)
        except BaseException:
            self.unwatch(session)
            raise
        if self._watchlists.get(session.socket_id) is watchlist:
            watchlist.initialized = True
            self._send(watchlist, watchlist.watched)

    def _add(self, session: Session, user_ids: tuple[str, ...]) -> _Watchlist:
        watchlist = self._watchlists[session.socket_id] = _Watchlist(session)
        for user_id in user_ids:
            key = (session.app.id, user_id)
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = _WatchedUser(user_id)
            watched.watchlists.add(watchlist)
            watchlist.watched.append(watched)
        if not self._rechecking.running:
            self._rechecking.start(_RECHECK_INTERVAL, now=False)
        return watchlist

    async def _load(self, app_id: str, unknown: list[_WatchedUser]) -> None:
        """Register interest in the users' invalidations, then ask the store who is online."""
        subscribing = [self._broker.subscribe(app_id, watched.channel) for watched in unknown]
        for subscribed in subscribing:
            if subscribed is not None:
                await subscribed
        if unknown:
            answer = await self._store.occupied(app_id, [watched.channel for watched in unknown])
            for watched in unknown:
                if watched.online is None:  # Otherwise a newer answer has arrived already.
                    watched.online = answer.get(watched.channel, False)

    async def _wait_for_checks(self, app_id: str, users: list[_WatchedUser]) -> None:
        """Wait until no check of the users is due, so that the users' online state is current.

        For example, the check of a watched user who has just signed in is due.
        """
        while any(watched in self._stale.get(app_id, ()) for watched in users):
            checked: Deferred[None] = Deferred()
            self._check_waiters.append(checked)
            await checked

    def unwatch(self, session: Session) -> None:
        """Remove a session's watchlist; do nothing if the session has none."""
        watchlist = self._watchlists.pop(session.socket_id, None)
        if watchlist is None:
            return
        app_id = session.app.id
        for watched in watchlist.watched:
            watched.watchlists.discard(watchlist)
            if not watched.watchlists:
                del self._watched[app_id, watched.user_id]
                self._broker.unsubscribe(app_id, watched.channel)
        if not self._watchlists:
            self._rechecking.stop()

    # Checking with the store

    def invalidate(self, app_id: str, user_id: str) -> None:
        """Schedule a check of a user, if the user is watched on this node."""
        watched = self._watched.get((app_id, user_id))
        if watched is not None:
            self._mark_stale(app_id, watched)

    def recheck(self) -> None:
        """Schedule a check of all users who are watched on this node."""
        run_in_portions(
            self._clock, list(self._watched), lambda key: self.invalidate(*key), size=_CHUNK_SIZE
        )

    def _mark_stale(self, app_id: str, watched: _WatchedUser) -> None:
        stale = self._stale.get(app_id)
        if stale is None:
            stale = self._stale[app_id] = {}
            self._clock.callLater(0, self._check, app_id)
        stale[watched] = None

    def _check(self, app_id: str) -> None:
        checking = Deferred.fromCoroutine(self._check_chunk(app_id))
        # The store has logged its refusal. The periodic check will repeat the query.
        checking.addErrback(lambda failure: failure.trap(StoreRefusedError))
        checking.addErrback(
            lambda failure: self._log.failure("failed to check which users are online", failure)
        )

    async def _check_chunk(self, app_id: str) -> None:
        """Check one chunk of those users of an app who are due for a check.

        A later turn of the reactor checks the next chunk.
        """
        stale = self._stale[app_id]
        chunk = list(islice(stale, _CHUNK_SIZE))
        for watched in chunk:
            del stale[watched]
        try:
            answer = await self._store.occupied(app_id, [watched.channel for watched in chunk])
            self._update(app_id, chunk, answer)
        finally:
            if stale:
                self._clock.callLater(0, self._check, app_id)
            else:
                del self._stale[app_id]
            waiters, self._check_waiters = self._check_waiters, []
            for checked in waiters:
                checked.callback(None)

    def _update(self, app_id: str, users: list[_WatchedUser], answer: Mapping[str, bool]) -> None:
        """Record each user's online state, and send changes to the sessions that watch the user."""
        changes: dict[_Watchlist, list[_WatchedUser]] = defaultdict(list)
        for watched in users:
            online = answer.get(watched.channel)
            if online is None and self._is_known_offline(app_id, watched.user_id):
                online = False
            # Any other user whom the store's answer omits keeps the previous state.
            if online is not None and online != watched.online:
                watched.online = online
                for watchlist in watched.watchlists:
                    if watchlist.initialized:
                        changes[watchlist].append(watched)
        for watchlist, changed in changes.items():
            self._send(watchlist, changed)

    @staticmethod
    def _send(watchlist: _Watchlist, users: list[_WatchedUser]) -> None:
        online = [watched.user_id for watched in users if watched.online]
        offline = [watched.user_id for watched in users if not watched.online]
        watchlist.session.send(messages.watchlist_events(online, offline))
