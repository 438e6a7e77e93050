"""Renews this node's lease in Redis, and reaps nodes whose lease has expired.

:mod:`reverb.stores.redis.registration` begins and ends the lease. The setting ``redis_lease`` is
the duration of the lease.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from reverb.brokers.link import LinkLostError
from reverb.deferred import returns_deferred
from reverb.interfaces import StoreRefusedError
from reverb.protocol.changes import ChannelReaped
from reverb.redis.session import RedisSession
from reverb.stores.redis import scripts
from reverb.stores.redis.reap_lua import REAP

_RENEWALS_PER_LEASE = 3
"""How often a node renews its lease within the duration of one lease."""


class LeaseKeeper:
    """Renews the lease periodically, and after each renewal reaps the nodes without a lease.

    Args:
        session: This node's session in Redis.
        lease_ms: The duration of the lease in milliseconds; a node that does not renew its lease
            for that long counts as dead.
        may_reap: Returns whether to reap the nodes without a lease; False just after this node has
            connected, because other nodes may still be reconnecting.
        debounce_ms: Returns the delay of ``channel_vacated`` and ``member_removed`` webhooks in
            milliseconds; negative if there are no webhooks.
        on_reaped: Called for each channel in which a reaped node had subscriptions; several times
            for a channel with very many members.
    """

    _log = Logger()

    def __init__(
        self,
        session: RedisSession,
        *,
        lease_ms: int,
        may_reap: Callable[[], bool],
        debounce_ms: Callable[[], int],
        on_reaped: Callable[[ChannelReaped], None],
    ) -> None:
        self._session = session
        self._lease_ms = lease_ms
        self._may_reap = may_reap
        self._debounce_ms = debounce_ms
        self._on_reaped = on_reaped
        self._reaping: set[bytes] = set()
        self._renewal_loop = LoopingCall(self._renew)
        self._renewal_loop.clock = session.clock

    def start(self) -> None:
        """Renew the lease at once, and then periodically."""
        self._renewal_loop.start(self._lease_ms / 1000 / _RENEWALS_PER_LEASE)

    def stop(self) -> None:
        """Stop the renewals; does nothing if they are not running."""
        if self._renewal_loop.running:
            self._renewal_loop.stop()

    def _renew(self) -> None:
        """Start one renewal of the lease; do not wait for the reply of Redis."""
        renewing = self._renew_and_reap()
        renewing.addErrback(
            lambda failure: self._log.failure(
                "failed to renew the lease of this node, or to reap another", failure
            )
        )

    @returns_deferred
    async def _renew_and_reap(self) -> None:
        try:
            dead = await self._session.call(scripts.RENEW, self._lease_ms)
            for node in dead if self._may_reap() else ():
                await self._reap(node)
        except (LinkLostError, StoreRefusedError):
            return  # After LinkLostError the node reconnects; else the next renewal tries again.

    async def _reap(self, node: bytes) -> None:
        """Reap a dead node in portions; does nothing if this node is reaping it already."""
        if node in self._reaping:
            return
        self._reaping.add(node)
        try:
            await self._reap_all(node, node.decode("utf-8", "replace"))
        except StoreRefusedError:
            return  # The next renewal tries again. The other dead nodes are reaped now.
        finally:
            self._reaping.discard(node)

    async def _reap_all(self, node: bytes, name: str) -> None:
        cursor, more, reaped, failed = b"0", 1, 0, False
        while more:
            changes, failures, cursor, more = await self._session.call(
                REAP, self._debounce_ms(), self._session.node, cursor, node=node
            )
            for failure in failures:
                why = failure.decode("utf-8", "replace")
                self._session.problems.record(f"node {name} cannot be reaped completely: {why}")
            reaped += len(changes)
            failed = failed or bool(failures)
            self._announce_reaped(name, changes)
        if reaped or not failed:
            self._log.info(
                "reaped dead node {node}, with subscriptions to {n} channels", node=name, n=reaped
            )

    def _announce_reaped(self, node: str, changes: list[Any]) -> None:
        decoder, held_key = self._session.decoder, f"held:{node}"
        for raw_app, raw_channel, remaining, removed in changes:
            app_id, channel = (
                decoder.text(raw_app, held_key),
                decoder.channel(raw_channel, held_key),
            )
            if app_id is None or channel is None:
                continue
            users = decoder.texts(removed, f"users:{node}:{app_id}:{channel}")
            self._on_reaped(ChannelReaped(app_id, channel, tuple(users), vacated=remaining == 0))
