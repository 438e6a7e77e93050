"""The leadership of a node, in Redis: the operations that only the leader may carry out."""

from collections.abc import Callable, Collection
from typing import Any

from zope.interface import implementer

from reverb.deferred import returns_deferred
from reverb.redis.resp import Argument
from reverb.redis.scripting import Script
from reverb.webhooks.cluster import redis_scripts as scripts
from reverb.webhooks.cluster.interfaces import ILeadership, QueueEntry
from reverb.webhooks.cluster.redis_codec import CorruptRecordError, decode_entry, encode_delivery
from reverb.webhooks.cluster.redis_session import (
    CHUNK_SIZE,
    RedisWebhookSession,
    delivery_arguments,
)
from reverb.webhooks.delivery import MAX_DEAD, MAX_DEAD_BYTES, MAX_DELIVERED, Delivery
from reverb.webhooks.interfaces import ClusterStoreLostError

LEASE_MS = 6_000
"""Milliseconds for which the leadership lasts after its last renewal."""
_RETENTION = {"delivered": (MAX_DELIVERED, MAX_DEAD_BYTES), "dead": (MAX_DEAD, MAX_DEAD_BYTES)}
"""For each final state, the most deliveries and the most bytes that are retained.

The limit in bytes applies only to dead letters: the bytes of delivered deliveries are not counted.
"""


@implementer(ILeadership)
class RedisLeadership:
    """The leadership of this node, until the leadership expires or the node loses Redis.

    Args:
        session: Runs the Redis scripts. The leadership ends when the node's session token changes.
        token: The leader token with which this node acquired the leadership.
    """

    def __init__(self, session: RedisWebhookSession, token: str) -> None:
        self._session = session
        self._session_token = session.token
        self._token = token

    async def _run(self, script: Script, *arguments: Argument) -> Any:
        """Run a script that only the leader may run; the script also renews the leadership.

        Raises:
            ClusterStoreLostError: This node has lost the leadership, Redis is unreachable, or
                Redis has refused the script.
        """
        if self._session.token != self._session_token:
            raise ClusterStoreLostError("the connection to Redis was lost")
        reply = await self._session.run(script, self._token, LEASE_MS, *arguments)
        if reply is None:
            raise ClusterStoreLostError("its leadership has expired")
        return reply

    @returns_deferred
    async def renew(self) -> None:
        """Renew the leadership."""
        await self._run(scripts.RENEW_LEADERSHIP)

    @returns_deferred
    async def release(self) -> None:
        """Release the leadership, so that another node may acquire it."""
        await self._run(scripts.RELEASE_LEADERSHIP)

    @returns_deferred
    async def audit(self, delay_ms: int, wanted: Callable[[str], bool]) -> None:
        """Schedule a check of each channel and user reported as present but absent now."""
        for app_id in await self._run(scripts.APPS):
            cursor, is_done = b"0", False
            app_delay_ms = delay_ms if _is_wanted(app_id, wanted) else -1
            while not is_done:
                cursor = await self._run(scripts.AUDIT, app_id, cursor, app_delay_ms)
                is_done = cursor == b"0"

    @returns_deferred
    async def pending(self) -> list[Delivery]:
        """List the pending deliveries, in the order of their ids."""
        found: dict[str, Delivery] = {}
        start = 0
        while names := await self._run(scripts.PENDING, start, start + CHUNK_SIZE - 1):
            for delivery in await self._session.find([_parse_delivery_id(name) for name in names]):
                found[delivery.id] = delivery
            start += len(names)
        return [found[delivery_id] for delivery_id in sorted(found)]

    @returns_deferred
    async def poll(self, after: str, *, stopping: bool) -> list[QueueEntry]:
        """Run the occupancy checks that are due; read the next entries of the cluster's queue."""
        start = _next_entry_id(after)
        while True:
            found, malformed = await self._run(scripts.POLL, start, int(stopping))
            if malformed:
                self._session.record_corrupt(
                    "occupancy checks", f"{malformed} checks in one poll name no app"
                )
            entries: list[QueueEntry] = []
            corrupt: list[bytes] = []
            for entry_id, fields in found:
                try:
                    entries.append(decode_entry(entry_id, fields))
                except CorruptRecordError as error:
                    corrupt.append(entry_id)
                    self._session.record_corrupt("queue entries", str(error))
            if corrupt:
                await self._run(scripts.REMOVE_ENTRIES, *corrupt)
            if entries or not found:
                return entries

    @returns_deferred
    async def put(self, delivery: Delivery, *, is_new: bool) -> None:
        """Write a new or changed delivery."""
        body = (delivery.body,) if is_new else ()
        await self._run(
            scripts.PUT,
            *_RETENTION.get(delivery.state, (0, 0)),
            *delivery_arguments(delivery),
            delivery.state,
            encode_delivery(delivery),
            *body,
        )

    @returns_deferred
    async def remove_entries(self, ids: Collection[str]) -> None:
        """Remove entries from the queue of the cluster."""
        await self._run(scripts.REMOVE_ENTRIES, *ids)


def _is_wanted(app_id: bytes, wanted: Callable[[str], bool]) -> bool:
    try:
        return wanted(app_id.decode())
    except UnicodeDecodeError:  # Another program has written the id.
        return False


def _parse_delivery_id(name: bytes) -> str:
    """Return the delivery's id from ``APP:ID``."""
    return name.decode("utf-8", "replace").partition(":")[2]


def _next_entry_id(after: str) -> str:
    """Return the lowest entry id that is greater than ``after``; ``-`` if ``after`` is empty."""
    milliseconds, _, number = after.partition("-")
    return f"{milliseconds}-{int(number) + 1}" if after else "-"
