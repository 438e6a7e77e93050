"""The broker of nodes that publish over NATS and keep their state in Redis.

Two kinds of messages stay on Redis's own bus; all other messages go over NATS:

- Member changes: the script that changes the members in Redis also publishes the change.
- Publications to cache channels: a new subscriber gets the cached event exactly once, either from
  the cache or live. Exactly-once delivery requires one order of cache writes and publications.
  Redis alone keeps cache writes and publications in one order; Redis and NATS together do not.
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
    """Carries the messages of each channel over NATS, over Redis, or over both.

    Args:
        nats: Carries publications and terminations.
        redis: Carries member changes, and publications to cache channels.

    Attributes:
        link_meter: The counters of the link to NATS; the store has the counters for Redis.
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
        """Why some publications do not reach the other nodes; None when all do."""
        return self._nats.unavailable_reason or self._redis.unavailable_reason

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Start to deliver envelopes, and start to connect to Redis and NATS.

        Returns:
            A Deferred that fires at once.
        """
        return _when_all_fired(self._redis.start(deliver), self._nats.start(deliver))

    def stop(self) -> "Deferred[None]":
        """Stop delivering, and close all connections; the Deferred fires when they are closed."""
        return _when_all_fired(self._redis.stop(), self._nats.stop())

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        """Subscribe to the other nodes' publications to a channel, and to its member changes."""
        results = [bus.subscribe(app_id, channel) for bus in self._buses(channel)]
        pending = [result for result in results if result is not None]
        if len(pending) > 1:
            return _when_all_fired(*pending)
        return pending[0] if pending else None

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Unsubscribe from a channel after a delay.

        A new subscription within the delay cancels the unsubscription.
        """
        for bus in self._buses(channel):
            bus.unsubscribe(app_id, channel)

    def _buses(self, channel: str) -> tuple[BusBroker, ...]:
        type_ = channel_type(channel)
        if type_.cached:
            return (self._redis,)
        return (self._nats, self._redis) if type_.kind is ChannelKind.PRESENCE else (self._nats,)

    def publish(self, envelope: Envelope) -> bool:
        """Deliver an envelope to this node now, and to other nodes when the reactor's turn ends.

        Returns:
            Whether the envelope will be sent to the other nodes.
        """
        if isinstance(envelope, Termination) or not channel_type(envelope.channel).cached:
            return self._nats.publish(envelope)
        return self._redis.publish(envelope)


def _when_all_fired(*waiting: "Deferred[None]") -> "Deferred[None]":
    return gatherResults(waiting).addCallback(lambda _: None)
