"""Runs the Redis scripts of webhooks, and reads deliveries from Redis, on every node."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.brokers.link import LinkLostError
from reverb.brokers.reply_deadlines import ReplyDeadlines, ReplyOverdueError
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
    """Runs the Redis scripts of webhooks in this node's session, and skips corrupt records.

    Args:
        session: This node's session in Redis.
        deadlines: Limits how long API requests wait for Redis.
        clock: Measures the time for the rate limit of log lines about corrupt records.
        meter: Counts corrupt records.
    """

    _log = Logger()

    def __init__(
        self, session: RedisSession, deadlines: ReplyDeadlines, clock: IReactorTime, meter: Meter
    ) -> None:
        self._session = session
        self._deadlines = deadlines
        self._meter = meter
        self._corrupt = LogThrottle(self._log_corrupt, clock)
        self._last_problem = ""

    @property
    def token(self) -> str | None:
        """The node's session token, new after each connect to Redis; None in degraded mode."""
        return self._session.token

    async def run(self, script: Script, *arguments: Argument) -> Any:
        """Run a Redis script, and return the script's reply.

        Raises:
            ClusterStoreLostError: Redis is unreachable, or has refused the script.
        """
        try:
            return await self._session.call(script, *arguments)
        except (LinkLostError, StoreRefusedError) as error:
            raise ClusterStoreLostError(str(error)) from None

    async def ask(self, script: Script, *arguments: Argument) -> Any:
        """Run a Redis script for an API request, which waits only for a limited time.

        Raises:
            ClusterStoreLostError: Redis is unreachable, has refused the script, or has not replied
                in time. Redis may still run the script in the last case.
        """
        reply = Deferred.fromCoroutine(self.run(script, *arguments))
        try:
            return await self._deadlines.limit(reply)
        except ReplyOverdueError as error:
            raise ClusterStoreLostError(str(error)) from None

    async def find(self, ids: Sequence[str]) -> list[Delivery]:
        """Get the deliveries with the given ids, in the order of the ids.

        Missing and corrupt deliveries are skipped.

        Raises:
            ClusterStoreLostError: Redis is unreachable, or has refused the script.
        """
        found: list[Delivery] = []
        for start in range(0, len(ids), CHUNK_SIZE):
            flat = await self.ask(scripts.FIND, *ids[start : start + CHUNK_SIZE])
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
            problem: A description of the error in the record.
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
    """Return a delivery's app id, id, URL and creation time, as arguments of a script."""
    return (delivery.app_id, delivery.id, delivery.url, repr(delivery.created))
