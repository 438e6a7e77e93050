"""Who watches whom, and what they are told: ``pusher_internal:watchlist_events``.

Hints say that a user may have come or gone, and may get lost or come twice;
the store says what is true. A watched user is therefore known here by what the
watchers have been told, and whatever is found to be different is told to all
of them. Source: Pusher's documentation, "Watchlist events".
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.interfaces import IBroker, IChannelStore, StoreRefusedError
from reverb.protocol import messages
from reverb.protocol.names import ONLINE_PREFIX
from reverb.protocol.session import Session

_LOOK_AGAIN = 30
"""Seconds after which all watched users are looked at, whether or not there was a hint."""
_PORTION = 500
"""Users whom the store is asked about at once; in memory it takes 2 ms."""


class _Watchlist:
    """The users whom one session watches.

    Attributes:
        told: Whether the session has been told of all of them; if so, it knows
            of each what is known here.
    """

    __slots__ = ("session", "told", "watched")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.watched: list[_WatchedUser] = []
        self.told = False


class _WatchedUser:
    """A user whom somebody watches.

    Attributes:
        online: Whether the user is, as the watchers have been told; None until
            the store has been asked.
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
        broker: Brings the hints of other nodes.
        store: Answers who is online across nodes.
        clock: For the turns in which hints are gathered, and to look again.
        is_known_offline: Tells by app and id whether a user has left this node while
            it could not reach the others.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        broker: IBroker,
        store: IChannelStore,
        clock: IReactorTime,
        is_known_offline: Callable[[str, str], bool],
    ) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self._left_alone = is_known_offline
        self._watchlists: dict[str, _Watchlist] = {}
        self._watched: dict[tuple[str, str], _WatchedUser] = {}
        # By app, the users to be looked at, in the order in which they came to be.
        self._doubts: dict[str, dict[_WatchedUser, None]] = {}
        self._waiting: list[Deferred[None]] = []
        self._looking_again = LoopingCall(self.recheck)
        self._looking_again.clock = clock

    async def watch(self, session: Session, user_ids: tuple[str, ...]) -> None:
        """Tell a session who of some users is online, and from now on who comes and goes.

        It does not watch anybody else any more.
        """
        self.unwatch(session)
        if not user_ids or not session.open:
            return
        watchlist = self._begin(session, user_ids)
        unknown = [watched for watched in watchlist.watched if watched.online is None]
        try:
            await self._get_to_know(session.app.id, unknown)
            await self._be_certain(session.app.id, watchlist.watched)
        except BaseException:
            self.unwatch(session)
            raise
        if self._watchlists.get(session.socket_id) is watchlist:
            watchlist.told = True
            self._tell(watchlist, watchlist.watched)

    def _begin(self, session: Session, user_ids: tuple[str, ...]) -> _Watchlist:
        watchlist = self._watchlists[session.socket_id] = _Watchlist(session)
        for user_id in user_ids:
            key = (session.app.id, user_id)
            watched = self._watched.get(key)
            if watched is None:
                watched = self._watched[key] = _WatchedUser(user_id)
            watched.watchlists.add(watchlist)
            watchlist.watched.append(watched)
        if not self._looking_again.running:
            self._looking_again.start(_LOOK_AGAIN, now=False)
        return watchlist

    async def _get_to_know(self, app_id: str, unknown: list[_WatchedUser]) -> None:
        """Ask the store for the first time; hints come from before that on."""
        wanting = [self._broker.subscribe(app_id, watched.channel) for watched in unknown]
        for interest in wanting:
            if interest is not None:
                await interest
        if unknown:
            answer = await self._store.occupied(app_id, [watched.channel for watched in unknown])
            for watched in unknown:
                if watched.online is None:  # Otherwise a newer answer has come before this one.
                    watched.online = answer.get(watched.channel, False)

    async def _be_certain(self, app_id: str, several: list[_WatchedUser]) -> None:
        """Wait while users are about to be looked at: the session's own may just have come."""
        while any(watched in self._doubts.get(app_id, ()) for watched in several):
            looked: Deferred[None] = Deferred()
            self._waiting.append(looked)
            await looked

    def unwatch(self, session: Session) -> None:
        """Forget a session's watchlist; harmless when it has none."""
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
            self._looking_again.stop()

    # Looking

    def invalidate(self, app_id: str, user_id: str) -> None:
        """Look at a user when this turn ends, if somebody here watches the user."""
        watched = self._watched.get((app_id, user_id))
        if watched is not None:
            self._doubt(app_id, watched)

    def recheck(self) -> None:
        """Look at all watched users when this turn ends."""
        for (app_id, _), watched in self._watched.items():
            self._doubt(app_id, watched)

    def _doubt(self, app_id: str, watched: _WatchedUser) -> None:
        doubts = self._doubts.get(app_id)
        if doubts is None:
            doubts = self._doubts[app_id] = {}
            self._clock.callLater(0, self._look, app_id)
        doubts[watched] = None

    def _look(self, app_id: str) -> None:
        looking = Deferred.fromCoroutine(self._look_at_some(app_id))
        # The store has logged what it refuses; all are looked at again in a while.
        looking.addErrback(lambda failure: failure.trap(StoreRefusedError))
        looking.addErrback(lambda failure: self._log.failure("looking who is online", failure))

    async def _look_at_some(self, app_id: str) -> None:
        """Look at a portion of those in doubt, and only then at the rest, in a turn of its own."""
        doubts = self._doubts[app_id]
        some = list(islice(doubts, _PORTION))
        for watched in some:
            del doubts[watched]
        try:
            answer = await self._store.occupied(app_id, [watched.channel for watched in some])
            self._learn(app_id, some, answer)
        finally:
            if doubts:
                self._clock.callLater(0, self._look, app_id)
            else:
                del self._doubts[app_id]
            waiting, self._waiting = self._waiting, []
            for looked in waiting:
                looked.callback(None)

    def _learn(self, app_id: str, some: list[_WatchedUser], answer: Mapping[str, bool]) -> None:
        """Take what the store has answered, and tell those who know otherwise."""
        news: dict[_Watchlist, list[_WatchedUser]] = defaultdict(list)
        for watched in some:
            online = answer.get(watched.channel)
            if online is None and self._left_alone(app_id, watched.user_id):
                online = False
            # What is still unknown stays what it was.
            if online is not None and online != watched.online:
                watched.online = online
                for watchlist in watched.watchlists:
                    if watchlist.told:
                        news[watchlist].append(watched)
        for watchlist, changed in news.items():
            self._tell(watchlist, changed)

    @staticmethod
    def _tell(watchlist: _Watchlist, news: list[_WatchedUser]) -> None:
        online = [watched.user_id for watched in news if watched.online]
        offline = [watched.user_id for watched in news if not watched.online]
        watchlist.session.send(messages.watchlist_events(online, offline))
