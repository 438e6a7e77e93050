"""The access of webhooks to Redis, on every node: runs scripts and reads deliveries."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.brokers.link import LinkLostError
from reverb.interfaces import StoreRefusedError
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.redis.resp import Argument
from reverb.redis.scripting import Script
from reverb.redis.session import RedisSession
from reverb.webhooks.cluster import redis_scripts as scripts
from reverb.webhooks.cluster.redis_codec import CorruptRecordError, decode_delivery
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.interfaces import ClusterStoreLostError

CHUNK_SIZE = 50
"""The most deliveries that one call of a script reads."""


class RedisWebhookSession:
    """Runs the scripts of webhooks in this node's session, and skips corrupt records.

    Args:
        session: This node's session in Redis.
        clock: Limits the rate of log lines.
        meter: Counts corrupt records.
    """

    _log = Logger()

    def __init__(self, session: RedisSession, clock: IReactorTime, meter: Meter) -> None:
        self._session = session
        self._meter = meter
        self._corrupt = LogThrottle(self._log_corrupt, clock)
        self._last_problem = ""

    @property
    def token(self) -> str | None:
        """The node's session token, new after each connect to Redis; None in degraded mode."""
        return self._session.token

    async def run(self, script: Script, *arguments: Argument) -> Any:
        """Run a script; return its reply.

        Raises:
            ClusterStoreLostError: Redis is unreachable, or has refused the script.
        """
        try:
            return await self._session.call(script, *arguments)
        except (LinkLostError, StoreRefusedError) as error:
            raise ClusterStoreLostError(str(error)) from None

    async def find(self, ids: Sequence[str]) -> list[Delivery]:
        """Get the deliveries with these ids, in the same order; skip missing and corrupt ones.

        Raises:
            ClusterStoreLostError: As for :meth:`run`.
        """
        found: list[Delivery] = []
        for start in range(0, len(ids), CHUNK_SIZE):
            flat = await self.run(scripts.FIND, *ids[start : start + CHUNK_SIZE])
            for pair in zip(flat[::2], flat[1::2], strict=True):
                try:
                    found.append(decode_delivery(*pair))
                except CorruptRecordError as error:
                    self.record_corrupt("deliveries", str(error))
        return found

    def record_corrupt(self, what: str, problem: str) -> None:
        """Count and log a corrupt record.

        Args:
            what: The kind of record, in the plural.
            problem: The error in this record.
        """
        self._meter.webhooks_unreadable += 1
        self._last_problem = problem
        self._corrupt.record(what)

    def _log_corrupt(self, what: str, count: int) -> None:
        self._log.error(
            "webhooks: skipped {count} corrupt {what} in Redis, which another program or a newer "
            "version of this server may have written; most recently: {problem}",
            what=what,
            count=count,
            problem=self._last_problem[:300],
        )


def delivery_arguments(delivery: Delivery) -> tuple[Argument, ...]:
    """Return a delivery's app id, id, URL and creation time, for the scripts that write it."""
    return (delivery.app_id, delivery.id, delivery.url, repr(delivery.created))
