"""The channel store of a node that shares a broker with other nodes, but no store.

Publications reach all nodes. Members, counts, limits and cached events are per node, so a
subscriber sees only the members on its own node.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from reverb.interfaces import JoinResult, LeaveResult, MemberJoined, MemberLeft, StoreChange
from reverb.protocol.messages import Member
from reverb.stores.memory import MemoryStore


class NodeLocalStore(MemoryStore):
    """A memory store that announces members to this node's subscribers only.

    It reports each member change to the hub itself and marks its results as ``announced``, so
    that the hub does not publish the change to the other nodes.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__(seconds)
        self._on_change: Callable[[StoreChange], None] = lambda _change: None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Start, and log a warning that names what the nodes do not share.

        Args:
            changed: Called with each :class:`MemberJoined` and :class:`MemberLeft` of this node.

        Returns:
            A Deferred that has already fired.
        """
        self._on_change = changed
        self._log.warn(
            "presence, counts, limits and cached events are per node: the broker shares only "
            "publications; add --redis to share the rest"
        )
        return succeed(None)

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription, and announce a new member to this node's subscribers."""

        def announce(joined: JoinResult) -> JoinResult:
            if member is not None and joined.added:
                self._on_change(MemberJoined(app_id, channel, member))
            return msgspec.structs.replace(joined, announced=True)

        joining = super().join(app_id, channel, socket_id, member, max_members)
        return joining.addCallback(announce)

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """Remove a subscription, and announce a member that left to this node's subscribers."""

        def announce(left: LeaveResult | None) -> LeaveResult | None:
            if left is None:
                return None
            if left.removed is not None:
                self._on_change(MemberLeft(app_id, channel, left.removed))
            return msgspec.structs.replace(left, announced=True)

        return super().leave(app_id, channel, socket_id).addCallback(announce)
