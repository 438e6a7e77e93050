"""The broker of nodes that share a Redis: its publish and subscribe."""

from collections.abc import Callable

from reverb.brokers.bus import BusBroker
from reverb.envelope import BusMessage, MemberChange
from reverb.redis.link import RedisLink


class RedisBroker(BusBroker):
    """Delivers to this process at once, and to the other nodes through Redis.

    Args:
        link: The way to Redis; started and stopped with the broker.
        member_changed: Called with what the nodes' stores tell each other.
    """

    def __init__(self, link: RedisLink, member_changed: Callable[[MemberChange], None]) -> None:
        super().__init__(link, common=link.prefix.encode())
        self._take_member = member_changed

    def _name(self, app_id: str, channel: str) -> bytes:
        return b"%b:%b:%b" % (self._common, app_id.encode(), channel.encode())

    def _pass_on(self, received: BusMessage) -> None:
        if isinstance(received.body, MemberChange):
            self._take_member(received.body)  # Ours too: all nodes see them in one order.
        else:
            super()._pass_on(received)
