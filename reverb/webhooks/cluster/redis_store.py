"""The cluster store of webhooks, in Redis.

The store has events, endpoints' URLs and deliveries' bodies, but no secrets and no headers.
:mod:`reverb.stores.redis.occupancy_lua` and :mod:`reverb.webhooks.cluster.redis_lua` document the
keys.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import get_args

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from reverb.deferred import returns_deferred
from reverb.meter import Meter
from reverb.protocol.validity import MAX_COUNT, parse_number
from reverb.stores.redis.store import RedisStore
from reverb.webhooks.cluster import redis_scripts as scripts
from reverb.webhooks.cluster.interfaces import AddResult, ILeadership, IWebhookClusterStore
from reverb.webhooks.cluster.redis_codec import encode_delivery
from reverb.webhooks.cluster.redis_leadership import LEASE_MS, RedisLeadership
from reverb.webhooks.cluster.redis_session import RedisWebhookSession, delivery_arguments
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.policies import QueueLimits

_STATES: tuple[State, ...] = get_args(State)
_ADD_RESULTS: dict[bytes, AddResult] = {name.encode(): name for name in get_args(AddResult)}


@implementer(IWebhookClusterStore)
class RedisWebhookStore:
    """Stores the cluster's webhook events and deliveries in Redis.

    Args:
        store: This node's channel store. The webhook store uses the channel store's session.
        clock: Measures the time for the rate limit of log lines about corrupt records.
        meter: Counts corrupt records.
    """

    def __init__(self, store: RedisStore, *, clock: IReactorTime, meter: Meter) -> None:
        self._store = store
        self._session = RedisWebhookSession(store.session, store.link.deadlines, clock, meter)
        # All terms of this node have one token, so after a loss of Redis the node need not
        # wait until its own lock expires.
        self._leader_token = secrets.token_hex(8)

    @property
    def is_available(self) -> bool:
        """Whether this node is registered in Redis, and Redis answers."""
        return self._store.connected

    def track_occupancy(self, debounce_ms: int, wanted: Callable[[str], bool]) -> None:
        """Make the channel store's scripts report changes of occupancy from now on."""
        self._store.occupancy.track(debounce_ms, wanted, scripts.ALL)

    @returns_deferred
    async def publish(self, event: WebhookEvent, mute_ms: int) -> bool:
        """Add an event to the cluster's queue; the event must not be about occupancy.

        Returns:
            Fires with False if the queue is full and the event is dropped; otherwise with True.
        """
        return bool(
            await self._session.run(
                scripts.PUBLISH, event.name, event.app_id, event.channel, event.json, mute_ms
            )
        )

    @returns_deferred
    async def acquire_leadership(self) -> ILeadership | None:
        """Become the leader; fires with the leadership, or with None if another node leads."""
        leadership = RedisLeadership(self._session, self._leader_token)
        acquired = await self._session.run(scripts.ACQUIRE_LEADERSHIP, self._leader_token, LEASE_MS)
        return leadership if acquired else None

    @returns_deferred
    async def announce_stop(self) -> bool:
        """Record that this node is stopping.

        Returns:
            Fires with True if all nodes are stopping although the cluster still has occupancy
            checks or queue entries to process; otherwise with False.
        """
        return bool(await self._session.run(scripts.ANNOUNCE_STOP))

    @returns_deferred
    async def add(self, delivery: Delivery, limits: QueueLimits) -> AddResult:
        """Write a pending delivery, and notify the leader by an entry in the cluster's queue.

        Returns:
            Fires with ``added`` if the delivery was written; with ``full`` if the endpoint's queue
            or the cluster's queue is full; or with ``pending`` if the delivery is pending already.
            The store changes only if the Deferred fires with ``added``.
        """
        reply = await self._session.ask(
            scripts.ADD,
            limits.max_deliveries,
            limits.max_bytes,
            *delivery_arguments(delivery),
            encode_delivery(delivery),
            delivery.body,
        )
        return _ADD_RESULTS[reply]

    @returns_deferred
    async def list_ids(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> list[str]:
        """List the ids of an app's deliveries, the newest first."""
        states = _STATES if state is None else (state,)
        before = f"({after}" if after else "+"
        ids = await self._session.ask(scripts.LIST_IDS, app_id, before, limit, *states)
        # An id that is not UTF-8 becomes an id that no delivery has.
        return [delivery_id.decode("utf-8", "replace") for delivery_id in ids]

    @returns_deferred
    async def find(self, ids: Sequence[str]) -> list[Delivery]:
        """Get the deliveries with the given ids, in the order of the ids.

        Missing and corrupt deliveries are skipped.
        """
        return await self._session.find(ids)

    @returns_deferred
    async def queued(self, app_id: str, url: str) -> int:
        """Count the pending deliveries of an endpoint."""
        raw = await self._session.ask(scripts.COUNT_QUEUED, app_id, url)
        number = parse_number(raw)
        if number is None or number > MAX_COUNT:
            self._session.record_corrupt("counts", f"{raw!a} deliveries queued for {url}")
            return 0
        return number
