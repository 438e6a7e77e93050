"""The leader's journal, which writes deliveries to the cluster store before they are sent."""

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from reverb.webhooks.ack_tracker import AckTracker
from reverb.webhooks.cluster.interfaces import ILeadership
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import ClusterStoreLostError

_CONFIRMATION_LIFETIME = 4
"""Seconds for which a confirmation of the leadership is valid: less than the leadership lasts."""


class ClusterJournal:
    """Writes deliveries on behalf of the leader, in the order in which they change.

    An event stays in the cluster's queue until, for every endpoint that wants the event, the event
    is part of a delivery or was dropped.

    Args:
        leadership: This node's leadership.
        clock: Measures the time since the leadership was last confirmed.
        on_lost: Called when a write fails. After a failed write, this node must not send any
            delivery: another node may have become the leader.
    """

    def __init__(
        self,
        leadership: ILeadership,
        *,
        clock: IReactorTime,
        on_lost: Callable[[], None],
    ) -> None:
        self._leadership = leadership
        self._clock = clock
        self._confirmed_at = float("-inf")
        self._on_lost = on_lost
        self._unbatched = AckTracker(self.remove_entries)
        self._last_write: Deferred[None] = succeed(None)
        self._stored: set[str] = set()

    def put(self, delivery: Delivery) -> None:
        """Write a new or changed delivery."""
        is_new = delivery.id not in self._stored
        if delivery.state == "pending":
            self._stored.add(delivery.id)
        else:
            self._stored.discard(delivery.id)
        self._watch(self._leadership.put(delivery, is_new=is_new))

    def mark_stored(self, delivery: Delivery) -> None:
        """Record that the store already has a delivery, so that the body is not written again."""
        self._stored.add(delivery.id)

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Keep an event's queue entry until :meth:`remove_unbatched` is called for each URL.

        If ``urls`` is empty, the queue entry is removed at once.
        """
        self._unbatched.track(event.id, len(urls))

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Record that these events need not become part of a delivery to this URL any more."""
        self._unbatched.done(event_ids)

    def remove_entries(self, entry_ids: Collection[str]) -> None:
        """Remove processed entries from the queue."""
        self._watch(self._leadership.remove_entries(entry_ids))

    def leadership_confirmed(self, asked_at: float) -> None:
        """Record that the store has confirmed this node's leadership.

        Args:
            asked_at: The clock's time in seconds when the request to the store was made. The time
                of the reply would be too late: this process may be paused before it reads
                the reply.
        """
        self._confirmed_at = max(self._confirmed_at, asked_at)

    def _watch(self, write: "Deferred[None]") -> None:
        asked_at = self._clock.seconds()
        self._last_write = write.addCallbacks(
            lambda _: self.leadership_confirmed(asked_at), self._failed
        )

    def _failed(self, failure: Failure) -> "Deferred[None]":
        self._on_lost()
        failure.trap(ClusterStoreLostError)
        # The attempts that wait for this Deferred end with the term, so it need not fire.
        return Deferred()

    def written(self) -> "Deferred[None]":
        """Wait until the store has confirmed all earlier writes.

        If the store has not confirmed this node's leadership for some seconds, this method asks for
        a confirmation, and waits for the confirmation, too.

        Returns:
            Fires when the last write and all earlier writes have succeeded. If the last write
            fails, the Deferred never fires.
        """
        # This process may have been paused, and another node may have become the leader.
        if self._clock.seconds() - self._confirmed_at > _CONFIRMATION_LIFETIME:
            self._watch(self._leadership.renew())
        if self._last_write.called and not self._last_write.paused:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._last_write.addCallback(_fire, waiting)
        return waiting


def _fire(result: None, waiting: "Deferred[None]") -> None:
    if not waiting.called:
        waiting.callback(result)
