"""The interface of a link's observers, and the phases in which a link calls the observers."""

from enum import IntEnum


class ConnectPhase(IntEnum):
    """The phases of each connect, in their order. The link is up after the last phase.

    The link awaits all observers of one phase before it calls the observers of the next phase.
    """

    SUBSCRIBE = 1
    """The node subscribes to the topics of its interest.

    This phase is first, because a store must not read members before the node receives
    member changes.
    """
    REGISTER = 2
    """The store registers the node, and its connections and subscriptions."""
    ANNOUNCE = 3
    """The hub learns that it may have missed messages while the link was down."""


class LinkObserver:
    """Acts on the events of a link; a subclass overrides the methods that it needs."""

    async def link_connected(self) -> None:
        """Act on a connect, before the link is up; any exception ends the connection.

        While this coroutine runs, the link can already send and receive. If the link is lost
        before this coroutine ends, the link calls :meth:`link_lost`.
        """

    def link_lost(self) -> None:
        """Act on the loss of the connection; an exception is only logged."""

    def link_answered(self) -> None:
        """Act on an answered heartbeat, every few seconds; an exception is only logged."""
