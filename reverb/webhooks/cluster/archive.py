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
"""More dead letters than the store ever keeps."""


@implementer(IDeliveryArchive)
class ClusterArchive:
    """Queries the cluster store, and passes replays and test events to the leader through it.

    Args:
        store: The cluster store.
        now: The wall clock, in seconds since 1970.
        next_id: Makes ids of deliveries.
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
        """List deliveries, the newest first."""
        return self._store.list_ids(app_id, state, limit, after).addCallback(self._store.find)

    def get(self, app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Find a delivery of an app."""
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
        """Send a delivered or dead delivery once more."""
        return Deferred.fromCoroutine(self._add(renew_delivery(delivery, self._now())))

    def send(self, app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Send a test event."""
        return Deferred.fromCoroutine(self._send(app_id, url, event))

    async def _send(self, app_id: str, url: str, event: WebhookEvent) -> Delivery:
        created = self._now()
        delivery = Delivery(
            # The random part keeps apart the ids that two nodes make at the same moment.
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
