"""The archive of the cluster's deliveries, which every node can query."""

import secrets
from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.endpoint_queue import MAX_QUEUED_BYTES
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IDeliveryArchive, IWebhookClusterStore, QueueFullError
from reverb.webhooks.sender import renew_delivery

_NO_LIMIT = 1_000_000
"""A limit above the number of dead letters that the store keeps."""


@implementer(IDeliveryArchive)
class ClusterArchive:
    """Queries the cluster store. It also queues replays and test events there, for the leader.

    Args:
        store: The cluster store.
        now: The wall clock, in seconds since 1970.
        next_id: Generates the ids of deliveries.
        max_queued: The most deliveries that may be pending for one endpoint.
    """

    def __init__(
        self,
        store: IWebhookClusterStore,
        *,
        now: Callable[[], float],
        next_id: Callable[[], str],
        max_queued: int,
    ) -> None:
        self._store = store
        self._now = now
        self._next_id = next_id
        self._max_queued = max_queued

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """List an app's deliveries, the newest first; see :meth:`IDeliveryArchive.page`."""
        return self._store.list_ids(app_id, state, limit, after).addCallback(self._store.find)

    def get(self, app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Find an app's delivery; fires with None if the app has none with this id."""
        return Deferred.fromCoroutine(self._get(app_id, delivery_id))

    async def _get(self, app_id: str, delivery_id: str) -> Delivery | None:
        found = await self._store.find([delivery_id])
        return found[0] if found and found[0].app_id == app_id else None

    def dead(self, app_id: str) -> "Deferred[list[str]]":
        """List the ids of an app's dead letters, the oldest first."""
        listing = self._store.list_ids(app_id, "dead", _NO_LIMIT, None)
        return listing.addCallback(lambda ids: ids[::-1])

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the deliveries that are pending for an endpoint, in the whole cluster."""
        return self._store.queued(app_id, url)

    def replay(self, delivery: Delivery) -> "Deferred[None]":
        """Queue a delivered or dead delivery again, for the leader to send.

        Returns:
            Fires when the delivery is queued. Fails with QueueFullError if the cluster's or the
            endpoint's queue is full, or if the delivery is pending already.
        """
        return Deferred.fromCoroutine(self._add(renew_delivery(delivery, self._now())))

    def send(self, app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Queue a delivery of a test event, for the leader to send.

        Returns:
            Fires with the delivery when it is queued. Fails with QueueFullError if the cluster's or
            the endpoint's queue is full.
        """
        return Deferred.fromCoroutine(self._send(app_id, url, event))

    async def _send(self, app_id: str, url: str, event: WebhookEvent) -> Delivery:
        created = self._now()
        delivery = Delivery(
            # Two nodes may generate an id at the same moment; the random part makes them differ.
            id=f"{self._next_id()}{secrets.token_hex(4)}",
            app_id=app_id,
            url=url,
            body=make_body(int(created * 1000), [event.json]),
            created=created,
        )
        await self._add(delivery)
        return delivery

    async def _add(self, delivery: Delivery) -> None:
        if not await self._store.add(delivery, self._max_queued, MAX_QUEUED_BYTES):
            raise QueueFullError(delivery.url)
