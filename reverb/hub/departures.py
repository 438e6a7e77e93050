"""Removes the subscriptions of ended sessions in portions.

One session may have hundreds of thousands of subscriptions, and a thousand sessions may end in one
turn of the reactor. If one turn removed all subscriptions of these sessions, the other clients
would have to wait, and a shared store would receive tens of megabytes at once.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.protocol.session import Completion, Session

PER_TURN = 150
"""The most subscriptions that the node removes from the store in one turn of the reactor."""
WINDOW = 300
"""The most removals of subscriptions that wait for the store's answer."""
_COST = 5
"""The cost of removing a subscription from the store. Without the store, the cost is 1."""


class DepartureQueue:
    """Removes the subscriptions of ended sessions, a limited number in each turn of the reactor.

    The queue removes the subscriptions of the sessions by round-robin, so a session with many
    subscriptions does not delay the other sessions. If the queue's limits allow all removals of a
    session, :meth:`add` begins all of the removals before it returns.

    Args:
        clock: The reactor, which schedules the portions.
        leave: Removes one subscription; called with the session and the channel's name.
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
        """Return the number of sessions that still have subscriptions to remove."""
        return len(self._sessions)

    def take(self, count: int) -> bool:
        """Ask whether this turn may remove ``count`` subscriptions from this node's channels.

        Returns:
            Whether the limit of the turn allows the removals. Allowed removals count towards the
            limit of the turn.
        """
        if count > self._budget:
            return False
        self._spend(count)
        return True

    def add(self, session: Session) -> None:
        """Remove an ended session's subscriptions.

        Call this method only when no step of the session (:mod:`reverb.hub.steps`) is in flight.
        """
        if session.channels:
            self._sessions.append((session, deque(session.channels)))
            self._remove_portion()

    def wait_until_empty(self) -> "Deferred[None]":
        """Wait until the queue is empty, and the store has answered each removal.

        Returns:
            A Deferred that fires when all removals have ended; the Deferred never fails.
        """
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
        # A few removals set no timer: they count towards the limit of a later turn, too.
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
                if not empty.called:  # A caller may have cancelled its Deferred.
                    empty.callback(None)
