"""Removes the subscriptions of ended sessions in portions.

One session may have hundreds of thousands of subscriptions, and a thousand sessions may end in one
turn of the reactor. All other clients would have to wait while they are removed, and a shared store
would be sent tens of megabytes at once.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.protocol.session import Completion, Session

PER_TURN = 150
"""The most subscriptions that are removed from the store in one turn of the reactor."""
WINDOW = 300
"""The most removals that wait for the store's answer."""
_COST = 5
"""What a removal from the store costs, relative to one from this node's channels only."""


class DepartureQueue:
    """The ended sessions whose subscriptions are still to be removed.

    The sessions take turns, so a session with many subscriptions does not delay the others. The
    first removals of a turn happen at once: an ordinary session is removed before :meth:`add`
    returns, unless the store has to be waited for.

    Args:
        clock: The reactor; schedules the portions.
        leave: Removes one subscription, by its session and the channel's name.
    """

    def __init__(self, clock: IReactorTime, leave: Callable[[Session, str], Completion]) -> None:
        self._clock = clock
        self._leave = leave
        self._sessions: deque[tuple[Session, deque[str]]] = deque()
        self._budget = PER_TURN * _COST
        self._unanswered = 0
        self._is_scheduled = False
        self._waiters: list[Deferred[None]] = []

    def __len__(self) -> int:
        """Return the number of sessions with subscriptions that are still to be removed."""
        return len(self._sessions)

    def take(self, count: int) -> bool:
        """Return whether this turn may remove ``count`` subscriptions from this node's channels.

        If so, they are counted.
        """
        if count > self._budget:
            return False
        self._spend(count)
        return True

    def add(self, session: Session) -> None:
        """Remove the subscriptions of a session, which has ended and has no step in flight."""
        if session.channels:
            self._sessions.append((session, deque(session.channels)))
            self._remove_portion()

    def wait_until_empty(self) -> "Deferred[None]":
        """Fire when all subscriptions are removed, and the store has answered; never fails."""
        empty: Deferred[None] = Deferred()
        self._waiters.append(empty)
        self._notify_if_empty()
        return empty

    def _remove_portion(self) -> None:
        while self._sessions and self._budget >= _COST and self._unanswered < WINDOW:
            session, names = self._sessions.popleft()
            name = names.popleft()
            if names:
                self._sessions.append((session, names))
            self._spend(_COST)
            leaving = self._leave(session, name)
            if leaving is not None:
                self._unanswered += 1
                leaving.addBoth(self._answered)  # type: ignore[attr-defined] # a Deferred
        self._notify_if_empty()

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        # Few removals need no timer: they may as well count towards the bound of a later turn.
        if self._budget < PER_TURN * _COST / 2:
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_scheduled = False
        self._budget = PER_TURN * _COST
        self._remove_portion()

    def _answered(self, _: object) -> None:
        self._unanswered -= 1
        if self._sessions:
            self._schedule()
        else:
            self._notify_if_empty()

    def _notify_if_empty(self) -> None:
        if self._waiters and not self._sessions and not self._unanswered:
            waiters, self._waiters = self._waiters, []
            for empty in waiters:
                if not empty.called:  # The caller may have cancelled it.
                    empty.callback(None)
