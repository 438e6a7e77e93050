"""The archive of the cluster's deliveries, which every node can query."""

from twisted.internet.defer import Deferred
from zope.interface import implementer

from reverb.deferred import returns_deferred
from reverb.webhooks.cluster.interfaces import IWebhookClusterStore
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.delivery_factory import DeliveryFactory
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import (
    DeliveryPendingError,
    IDeliveryArchive,
    QueueFullError,
)
from reverb.webhooks.policies import QueueLimits

_NO_LIMIT = 1_000_000
"""A limit above the number of dead letters that the store keeps."""


@implementer(IDeliveryArchive)
class ClusterArchive:
    """Queries the cluster store, and queues replays and test events there for the leader.

    Args:
        store: The cluster store.
        factory: Creates and renews deliveries.
        limits: Limits the pending deliveries of each endpoint.
    """

    def __init__(
        self, store: IWebhookClusterStore, factory: DeliveryFactory, limits: QueueLimits
    ) -> None:
        self._store = store
        self._factory = factory
        self._limits = limits

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """List an app's deliveries, the newest first; see :meth:`IDeliveryArchive.page`."""
        return self._store.list_ids(app_id, state, limit, after).addCallback(self._store.find)

    @returns_deferred
    async def get(self, app_id: str, delivery_id: str) -> Delivery | None:
        """Find an app's delivery; fires with None if the app has no delivery with this id."""
        found = await self._store.find([delivery_id])
        return found[0] if found and found[0].app_id == app_id else None

    def dead(self, app_id: str) -> "Deferred[list[str]]":
        """List the ids of an app's dead letters, the oldest first."""
        listing = self._store.list_ids(app_id, "dead", _NO_LIMIT, None)
        return listing.addCallback(lambda ids: ids[::-1])

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the deliveries that are pending for an endpoint, in the whole cluster."""
        return self._store.queued(app_id, url)

    @returns_deferred
    async def replay(self, delivery: Delivery) -> None:
        """Queue a delivered or dead delivery again, for the leader to send.

        Returns:
            Fires when the delivery is queued. Fails with QueueFullError if the cluster's or the
            endpoint's queue is full, and with DeliveryPendingError if the delivery is pending.
        """
        await self._add(self._factory.renew(delivery))

    @returns_deferred
    async def send(self, app_id: str, url: str, event: WebhookEvent) -> Delivery:
        """Queue a delivery of a test event, for the leader to send.

        Returns:
            Fires with the delivery when it is queued. Fails with QueueFullError if the cluster's or
            the endpoint's queue is full.
        """
        delivery = self._factory.create(app_id, url, [event])
        await self._add(delivery)
        return delivery

    async def _add(self, delivery: Delivery) -> None:
        result = await self._store.add(delivery, self._limits)
        if result == "full":
            raise QueueFullError(delivery.url)
        if result == "pending":
            raise DeliveryPendingError(delivery.id)
