"""What was delivered by nodes that share webhooks, for those who ask any of them."""

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

_ALL = 1_000_000
"""More than are ever kept."""


@implementer(IDeliveryArchive)
class ClusterArchive:
    """Asks what is shared; what is to be delivered goes to the sender through it.

    Args:
        shared: What is shared.
        now: The wall clock.
        next_id: Makes ids of deliveries.
        max_queued: Deliveries that may wait for one endpoint.
    """

    def __init__(
        self,
        shared: IWebhookClusterStore,
        *,
        now: Callable[[], float],
        next_id: Callable[[], str],
        max_queued: int,
    ) -> None:
        self._shared = shared
        self._now = now
        self._next_id = next_id
        self._max_queued = max_queued

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """List deliveries, the newest first."""
        return self._shared.ids(app_id, state, limit, after).addCallback(self._shared.find)

    def get(self, app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Find an app's delivery."""
        return Deferred.fromCoroutine(self._get(app_id, delivery_id))

    async def _get(self, app_id: str, delivery_id: str) -> Delivery | None:
        found = await self._shared.find([delivery_id])
        return found[0] if found and found[0].app_id == app_id else None

    def dead(self, app_id: str) -> "Deferred[list[str]]":
        """List the ids of an app's dead letters, the oldest first."""
        finding = self._shared.ids(app_id, "dead", _ALL, None)
        return finding.addCallback(lambda found: found[::-1])

    def queued(self, app_id: str, url: str) -> "Deferred[int]":
        """Count the deliveries that wait for an endpoint, on whichever node."""
        return self._shared.queued(app_id, url)

    def replay(self, delivery: Delivery) -> "Deferred[None]":
        """Deliver once more what is done with."""
        return Deferred.fromCoroutine(self._add(renew_delivery(delivery, self._now())))

    def send(self, app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Deliver an event that did not happen."""
        return Deferred.fromCoroutine(self._send(app_id, url, event))

    async def _send(self, app_id: str, url: str, event: WebhookEvent) -> Delivery:
        created = self._now()
        delivery = Delivery(
            # Other nodes make ids of the same moments.
            id=f"{self._next_id()}{secrets.token_hex(4)}",
            app_id=app_id,
            url=url,
            body=make_body(int(created * 1000), [event.json]),
            created=created,
        )
        await self._add(delivery)
        return delivery

    async def _add(self, delivery: Delivery) -> None:
        if not await self._shared.add(delivery, self._max_queued, MAX_QUEUED_BYTES):
            raise QueueFullError(delivery.url)
