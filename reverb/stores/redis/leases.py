"""Keeps this node's lease in Redis, and sees to the nodes that have lost theirs."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.brokers.link import LinkLostError
from reverb.interfaces import ChannelReaped, StoreRefusedError
from reverb.redis.session import RedisSession
from reverb.stores.redis import scripts

_RENEWALS = 3
"""Renewals of the lease in the time that it lasts."""


class LeaseKeeper:
    """Renews the lease again and again, and takes back what dead nodes hold.

    Args:
        session: This node's session in Redis.
        lease: Milliseconds after which a node that is silent counts as dead.
        clock: For the renewals.
        may_take_back: Whether nodes without a lease are dead. After an outage of Redis they may
            only need a moment more than this node.
        wait: Tells for how many milliseconds webhooks wait for who left with a dead node.
        tell: Called with what dead nodes have left.
    """

    _log = Logger()

    def __init__(
        self,
        session: RedisSession,
        *,
        lease: int,
        clock: IReactorTime,
        may_take_back: Callable[[], bool],
        wait: Callable[[], int],
        tell: Callable[[ChannelReaped], None],
    ) -> None:
        self._session = session
        self._lease = lease
        self._may_take_back = may_take_back
        self._wait = wait
        self._tell = tell
        self._renewing = LoopingCall(self._renew)
        self._renewing.clock = clock

    def start(self) -> None:
        """Begin to renew, at once."""
        self._renewing.start(self._lease / 1000 / _RENEWALS)

    def stop(self) -> None:
        """Renew no more; harmless when it has not begun."""
        if self._renewing.running:
            self._renewing.stop()

    def _renew(self) -> None:
        """Renew the lease; the next time comes whether Redis has answered or not."""
        renewing = Deferred.fromCoroutine(self._see_to_leases())
        renewing.addErrback(lambda failure: self._log.failure("renewing the lease", failure))

    async def _see_to_leases(self) -> None:
        try:
            dead = await self._session.call(scripts.RENEW, self._lease)
            for node in dead if self._may_take_back() else ():
                await self._take_back(node)
        except (LinkLostError, StoreRefusedError):
            return  # This node registers again, or tries again with the next renewal.

    async def _take_back(self, node: bytes) -> None:
        name = node.decode("utf-8", "replace")
        try:
            changes, failures = await self._session.call(scripts.REAP, self._wait(), node=node)
        except StoreRefusedError:
            return  # It is tried again; the next node may do.
        for failure in failures:
            why = failure.decode("utf-8", "replace")
            self._session.problems.happened(f"node {name} cannot be taken back: {why}")
        if changes or not failures:
            self._tell_abandoned(name, changes)

    def _tell_abandoned(self, node: str, changes: list[Any]) -> None:
        self._log.info("node {node} is gone; it leaves {n} channels", node=node, n=len(changes))
        reading, held = self._session.reading, f"held:{node}"
        for raw_app, raw_channel, left, removed in changes:
            app_id, channel = reading.text(raw_app, held), reading.text(raw_channel, held)
            if app_id is None or channel is None:
                continue
            users = reading.texts(removed, f"users:{node}:{app_id}:{channel}")
            self._tell(ChannelReaped(app_id, channel, tuple(users), vacated=left == 0))
