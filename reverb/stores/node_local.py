"""The channel store of a node that shares a broker with others, but no store.

What is published reaches all nodes; members, counts, limits and cached events are
those of each node alone. So its subscribers are told of its own members only.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from reverb.interfaces import JoinResult, LeaveResult, MemberJoined, MemberLeft, StoreChange
from reverb.protocol.messages import Member
from reverb.stores.memory import MemoryStore


class NodeLocalStore(MemoryStore):
    """Keeps channels in dictionaries, and tells of members itself, so that nobody publishes them.

    Args:
        seconds: A monotonic clock, in seconds; cached events expire by it.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__(seconds)
        self._changed: Callable[[StoreChange], None] = lambda _change: None

    def start(self, changed: Callable[[StoreChange], None]) -> "Deferred[None]":
        """Begin, and say what the nodes do not share."""
        self._changed = changed
        self._log.warn(
            "presence, counts, limits and cached events are of this node alone: the broker carries "
            "what is published, and to share the rest takes --redis too"
        )
        return succeed(None)

    def join(
        self, app_id: str, channel: str, socket_id: str, member: Member | None, max_members: int
    ) -> "Deferred[JoinResult]":
        """Add a subscription, and tell the channel's subscribers here of a new member."""

        def tell(joined: JoinResult) -> JoinResult:
            if member is not None and joined.added:
                self._changed(MemberJoined(app_id, channel, member))
            return msgspec.structs.replace(joined, announced=True)

        joining = super().join(app_id, channel, socket_id, member, max_members)
        return joining.addCallback(tell)

    def leave(self, app_id: str, channel: str, socket_id: str) -> "Deferred[LeaveResult | None]":
        """End a subscription, and tell the channel's subscribers here of a member who went."""

        def tell(left: LeaveResult | None) -> LeaveResult | None:
            if left is None:
                return None
            if left.removed is not None:
                self._changed(MemberLeft(app_id, channel, left.removed))
            return msgspec.structs.replace(left, announced=True)

        return super().leave(app_id, channel, socket_id).addCallback(tell)
