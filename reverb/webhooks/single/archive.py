"""What was delivered by a node that is alone, for those who ask or want it once more."""

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IDeliveryArchive, QueueFullError
from reverb.webhooks.sender import Sender
from reverb.webhooks.single.journal import Journal


@implementer(IDeliveryArchive)
class JournalArchive:
    """Answers out of this node's journal, at once.

    Args:
        journal: The journal.
        sender: Delivers.
    """

    def __init__(self, journal: Journal, sender: Sender) -> None:
        self._journal = journal
        self._sender = sender

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """List deliveries, the newest first."""
        return succeed(self._journal.page(app_id, state, limit, after))

    def get(self, app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Find a delivery."""
        delivery = self._journal.get(delivery_id)
        return succeed(delivery if delivery is not None and delivery.app_id == app_id else None)

    def dead(self, app_id: str) -> "Deferred[list[str]]":
        """List the ids of an app's dead letters."""
        return succeed([delivery.id for delivery in self._journal.dead(app_id)])

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the deliveries that wait for an endpoint."""
        return succeed(self._sender.queued(app_id, url))

    def replay(self, delivery: Delivery) -> "Deferred[None]":
        """Deliver once more what is done with."""
        try:
            self._sender.replay(delivery)
        except QueueFullError as error:
            return fail(error)
        return succeed(None)

    def send(self, app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Deliver an event that did not happen."""
        delivery = self._sender.send(app_id, url, [event])
        return fail(QueueFullError(url)) if delivery is None else succeed(delivery)
