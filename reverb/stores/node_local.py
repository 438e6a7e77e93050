"""The channel store of a node that shares a broker, but no store, with other nodes.

Publications reach all nodes. Each node has its own members, counts, limits and cached events. So
a subscriber sees only the members that are connected to the same node.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from reverb.protocol.changes import JoinResult, LeaveResult, MemberJoined, MemberLeft, StoreChange
from reverb.protocol.messages import Member
from reverb.stores.memory import MemoryStore


class NodeLocalStore(MemoryStore):
    """A memory store that announces member changes to this node's subscribers only.

    The store reports each member change to this node's hub, and sets ``announced`` in the results
    of joins and leaves. So the hub does not publish member changes to the other nodes.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__(seconds)
        self._on_change: Callable[[StoreChange], None] = lambda _change: None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Start, and log a warning that lists the data that the nodes do not share.

        Args:
            changed: Called with a :class:`MemberJoined` or :class:`MemberLeft` for each change of
                the members on this node.

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
        """Add a subscription; if its user is a new member, announce the member on this node."""

        def announce(joined: JoinResult) -> JoinResult:
            if member is not None and joined.added:
                self._on_change(MemberJoined(app_id, channel, member))
            return msgspec.structs.replace(joined, announced=True)

        joining = super().join(app_id, channel, socket_id, member, max_members)
        return joining.addCallback(announce)

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """Remove a subscription.

        If the user has no other subscription to the channel, announce on this node that the member
        has left.
        """

        def announce(left: LeaveResult | None) -> LeaveResult | None:
            if left is None:
                return None
            if left.removed is not None:
                self._on_change(MemberLeft(app_id, channel, left.removed))
            return msgspec.structs.replace(left, announced=True)

        return super().leave(app_id, channel, socket_id).addCallback(announce)
