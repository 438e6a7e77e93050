"""Limits how long clients wait for the replies of Redis or NATS."""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")

LIMIT = 2.0
"""The most seconds that a client or an API request waits for a reply."""


class ReplyOverdueError(Exception):
    """The server has not replied in time; the link is up, and the reply may still arrive."""


class ReplyDeadlines:
    """Fails the waits for the replies that one server does not send in time.

    While at least one reply is overdue, further waits fail at once: the server is not answering, so
    that the next client would wait for nothing. The commands themselves are not cancelled.

    Args:
        clock: The reactor, as a clock.

    Attributes:
        on_caught_up: Called when the last overdue reply has arrived, or has failed with the link.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._overdue = 0
        self.on_caught_up = _do_nothing

    def limit(self, reply: "Deferred[T]") -> "Deferred[T]":
        """Wait for a reply, but at most ``LIMIT`` seconds.

        Args:
            reply: Fires with the reply. The caller must not use this Deferred any more.

        Returns:
            Fires as ``reply`` does. Fails with ReplyOverdueError after ``LIMIT`` seconds, or at
            once if another reply is overdue. A result that arrives later is dropped.
        """
        wait = _Wait()
        reply.addBoth(self._replied, wait)
        if wait.is_pending:
            if self._overdue:
                self._expire(wait)
            else:
                wait.timer = self._clock.callLater(LIMIT, self._expire, wait)
        return wait.answer

    def _expire(self, wait: "_Wait") -> None:
        wait.timer = None
        wait.is_pending = False
        self._overdue += 1
        wait.answer.errback(ReplyOverdueError(f"no reply within {LIMIT:g} s"))

    def _replied(self, result: Any, wait: "_Wait") -> None:
        if wait.is_pending:
            wait.is_pending = False
            if wait.timer is not None:
                wait.timer.cancel()
            wait.answer.callback(result)
            return
        self._overdue -= 1
        if not self._overdue:
            self.on_caught_up()


class _Wait:
    """One wait for a reply.

    Attributes:
        answer: Fires with the reply, or fails when the reply is overdue.
        is_pending: Whether the reply has not arrived and is not overdue.
        timer: Fails the wait when the reply is overdue; None if no timer is set.
    """

    __slots__ = ("answer", "is_pending", "timer")

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()
        self.is_pending = True
        self.timer: IDelayedCall | None = None


def _do_nothing() -> None:
    pass
