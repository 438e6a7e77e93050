"""The broker of nodes that have NATS for what is published, and Redis for what is kept.

A member who comes or goes is announced by the very step that changes the members,
in Redis. And who subscribes to a cache channel gets the cached event once, replayed
or live, because both come from one Redis in one order: two programs have no order.
So these two stay on Redis's bus, and all else goes over NATS.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from reverb.brokers.bus import BusBroker
from reverb.envelope import Envelope, Termination
from reverb.interfaces import IBroker, ILinked
from reverb.protocol.names import ChannelKind, channel_type


@implementer(IBroker, ILinked)
class SplitBroker:
    """Gives each channel to the bus that it is to go over.

    Args:
        nats: Carries publications and terminations.
        redis: Carries members, and what is published to cache channels.

    Attributes:
        link_meter: What is counted of NATS; the store has the same of Redis.
    """

    def __init__(self, nats: BusBroker, redis: BusBroker) -> None:
        self._nats = nats
        self._redis = redis
        self.link_meter = nats.link_meter

    @property
    def connected(self) -> bool:
        """Whether all publications reach the other nodes."""
        return self._nats.connected and self._redis.connected

    @property
    def unavailable_reason(self) -> str | None:
        """Why some of them do not."""
        return self._nats.unavailable_reason or self._redis.unavailable_reason

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Begin to deliver, and to connect to both; fires at once."""
        return _both(self._redis.start(deliver), self._nats.start(deliver))

    def stop(self) -> "Deferred[None]":
        """End delivery and all connections."""
        return _both(self._redis.stop(), self._nats.stop())

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        """Want what other nodes publish to a channel, and news of its members."""
        waiting = [bus.subscribe(app_id, channel) for bus in self._buses(channel)]
        asked = [one for one in waiting if one is not None]
        if len(asked) > 1:
            return _both(*asked)
        return asked[0] if asked else None

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Give a channel up, unless somebody subscribes again soon."""
        for bus in self._buses(channel):
            bus.unsubscribe(app_id, channel)

    def _buses(self, channel: str) -> tuple[BusBroker, ...]:
        type_ = channel_type(channel)
        if type_.cached:
            return (self._redis,)
        return (self._nats, self._redis) if type_.kind is ChannelKind.PRESENCE else (self._nats,)

    def publish(self, envelope: Envelope) -> bool:
        """Send to the other nodes when this turn of the reactor ends, and deliver here."""
        if isinstance(envelope, Termination) or not channel_type(envelope.channel).cached:
            return self._nats.publish(envelope)
        return self._redis.publish(envelope)


def _both(*waiting: "Deferred[None]") -> "Deferred[None]":
    return gatherResults(waiting).addCallback(lambda _: None)
