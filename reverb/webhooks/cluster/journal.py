"""What a sender notes where nodes share webhooks: outside of all of them."""

from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from reverb.webhooks.ack_tracker import AckTracker
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import ClusterStoreLostError, IWebhookClusterStore

_FRESH = 4
"""Seconds since its last use for which an office is sure to be there; it lasts longer."""


class ClusterJournal:
    """Notes deliveries in the sender's name, in the order in which they change.

    An event stays in the queue until it is in a delivery for each endpoint that wants it.

    Args:
        shared: Where it notes them.
        office: The sender's.
        clock: To know how long ago the office was used.
        lost: Called when something could not be noted: what happens from then on must not be
            sent, as another node may send it.
    """

    def __init__(
        self,
        shared: IWebhookClusterStore,
        leader_token: str,
        *,
        clock: IReactorTime,
        lost: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._leader_token = leader_token
        self._clock = clock
        self._used = float("-inf")
        self._lost = lost
        self._open = AckTracker(self.forget)
        self._last: Deferred[None] = succeed(None)
        self._known: set[str] = set()

    def put(self, delivery: Delivery) -> None:
        """Note a delivery that is new or has changed."""
        is_new = delivery.id not in self._known
        if delivery.state == "pending":
            self._known.add(delivery.id)
        else:
            self._known.discard(delivery.id)
        self._note(self._shared.put(self._leader_token, delivery, is_new=is_new))

    def know(self, delivery: Delivery) -> None:
        """Learn that a delivery is kept already."""
        self._known.add(delivery.id)

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Note an event that endpoints will get."""
        self._open.track(event.id, len(urls))

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Note that events are in a delivery, or dropped."""
        self._open.done(event_ids)

    def forget(self, entry_ids: Collection[str]) -> None:
        """Take entries that are dealt with out of the queue."""
        self._note(self._shared.remove_entries(self._leader_token, entry_ids))

    def used(self, asked: float) -> None:
        """Learn that the office is this node's.

        Args:
            asked: When that was asked, in seconds of the clock; since the answer came this process
                may have been paused.
        """
        self._used = max(self._used, asked)

    def _note(self, noting: "Deferred[None]") -> None:
        asked = self._clock.seconds()
        self._last = noting.addCallbacks(lambda _: self.used(asked), self._failed)

    def _failed(self, failure: Failure) -> "Deferred[None]":
        self._lost()
        failure.trap(ClusterStoreLostError)
        return Deferred()  # Who waits for it is given up with the office.

    def written(self) -> "Deferred[None]":
        """Fire when all that has been noted until now is kept; never, when it could not be."""
        if self._clock.seconds() - self._used > _FRESH:  # This process may have been paused.
            self._note(self._shared.acquire_leadership(self._leader_token).addCallback(_check))
        if self._last.called and not self._last.paused:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._last.addCallback(_tell, waiting)
        return waiting


def _check(is_ours: bool) -> None:
    if not is_ours:
        raise ClusterStoreLostError("another node sends webhooks by now")


def _tell(result: None, waiting: "Deferred[None]") -> None:
    if not waiting.called:
        waiting.callback(result)
