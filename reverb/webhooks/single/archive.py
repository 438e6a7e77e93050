"""The archive of a single node: lists and replays the deliveries of its journal."""

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import DeliveryPendingError, IDeliveryArchive, QueueFullError
from reverb.webhooks.sender import Sender
from reverb.webhooks.single.journal import Journal


@implementer(IDeliveryArchive)
class JournalArchive:
    """An archive that answers at once, from the node's journal.

    Args:
        journal: The node's journal.
        sender: Delivers replays and test events.
    """

    def __init__(self, journal: Journal, sender: Sender) -> None:
        self._journal = journal
        self._sender = sender

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """Fire with a page of deliveries; see :class:`IDeliveryArchive`."""
        return succeed(self._journal.page(app_id, state, limit, after))

    def get(self, app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Fire with an app's delivery, or with None if the app has none with this id."""
        delivery = self._journal.get(delivery_id)
        return succeed(delivery if delivery is not None and delivery.app_id == app_id else None)

    def dead(self, app_id: str) -> "Deferred[list[str]]":
        """Fire with the ids of an app's dead letters, in the order in which they were given up."""
        return succeed([delivery.id for delivery in self._journal.dead(app_id)])

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""
        return succeed(self._sender.queued(app_id, url))

    def replay(self, delivery: Delivery) -> "Deferred[None]":
        """Queue a delivered or dead delivery again; see :class:`IDeliveryArchive`."""
        current = self._journal.get(delivery.id)
        if current is not None and current.state == "pending":
            return fail(DeliveryPendingError(delivery.id))
        try:
            self._sender.replay(delivery)
        except QueueFullError as error:
            return fail(error)
        return succeed(None)

    def send(self, app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Queue a delivery of a test event; see :class:`IDeliveryArchive`."""
        delivery = self._sender.send(app_id, url, [event])
        return fail(QueueFullError(url)) if delivery is None else succeed(delivery)
