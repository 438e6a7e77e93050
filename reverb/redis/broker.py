"""The broker of nodes that share a Redis; the bus is Redis Pub/Sub."""

from collections.abc import Callable

from reverb.brokers.bus import BusBroker
from reverb.envelope import Envelope, MemberChange
from reverb.redis.link import RedisLink


class RedisBroker(BusBroker):
    """Delivers envelopes to this node synchronously, and to the other nodes through Redis.

    Args:
        link: The link to Redis, which the broker starts and stops.
        member_changed: Called with each member change that the store of any node publishes.
    """

    def __init__(self, link: RedisLink, member_changed: Callable[[MemberChange], None]) -> None:
        super().__init__(link, broadcast_topic=link.prefix.encode())
        self._member_changed = member_changed

    def _topic(self, app_id: str, channel: str) -> bytes:
        return b"%b:%b:%b" % (self._broadcast_topic, app_id.encode(), channel.encode())

    def _dispatch(self, body: Envelope | MemberChange) -> None:
        if isinstance(body, MemberChange):
            self._member_changed(body)
        else:
            super()._dispatch(body)
