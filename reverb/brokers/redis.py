"""The broker of nodes that share a Redis: its publish and subscribe.

A node is subscribed to the channels that its own clients are subscribed to,
and to one more for what concerns all nodes. Its own clients are served without
the round trip, and what it gets back of its own messages is dropped.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from reverb.brokers.envelope import (
    BusMessage,
    Envelope,
    MemberChange,
    Termination,
    decode,
    encode,
)
from reverb.brokers.redis_link import RedisLink, wait_for_all
from reverb.interfaces import IBroker, ILinked

_LINGER = 2.0
"""Seconds after its last subscriber that a channel is given up; many come back at once."""
_PORTION = 1_000
"""Channels in one command."""


@implementer(IBroker, ILinked)
class RedisBroker:
    """Delivers to this process at once, and to the other nodes through Redis.

    Args:
        link: The way to Redis; started and stopped with the broker.
        take_member: Called with what the nodes' stores tell each other.

    Attributes:
        link_meter: What is counted of the subscriptions' connection.
    """

    _log = Logger()

    def __init__(self, link: RedisLink, take_member: Callable[[MemberChange], None]) -> None:
        self._link = link
        self._take_member = take_member
        self._deliver: Callable[[Envelope], None] | None = None
        self._common = link.url.prefix.encode()
        self._wanted: set[bytes] = set()
        self._asked: dict[bytes, Deferred[None]] = {}
        self._leaving: dict[bytes, IDelayedCall] = {}
        self.link_meter = link.bus_meter
        link.take = self._taken
        link.preparations.insert(0, self._subscribe_to_all)

    @property
    def connected(self) -> bool:
        """Whether publications reach the other nodes."""
        return self._link.trouble is None

    @property
    def trouble(self) -> str | None:
        """Why they do not."""
        return self._link.trouble

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Begin to deliver, and to connect.

        Returns:
            Fires at once: until Redis is there, the node serves its own clients.
        """
        self._deliver = deliver
        self._link.start()
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """End delivery and the connections."""
        self._deliver = None
        for call in self._leaving.values():
            call.cancel()
        self._leaving.clear()
        return Deferred.fromCoroutine(self._link.stop())

    def publish(self, envelope: Envelope) -> None:
        """Send to the other nodes when this turn of the reactor ends, and deliver here."""
        if self._deliver is None:
            return
        if self._link.open:  # Before delivering, which may lead to the next publication.
            name = self._common
            if not isinstance(envelope, Termination):
                name = self._name(envelope.app_id, envelope.channel)
            self._link.cast(b"PUBLISH", name, encode(self._link.node, envelope))
        self._deliver(envelope)

    def _name(self, app_id: str, channel: str) -> bytes:
        return b"%b:%b:%b" % (self._common, app_id.encode(), channel.encode())

    # Interest

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        """Want what other nodes publish to a channel."""
        name = self._name(app_id, channel)
        leaving = self._leaving.pop(name, None)
        if leaving is not None:
            leaving.cancel()
        if name not in self._wanted:
            self._wanted.add(name)
            if self._link.open:
                (asked,) = self._link.subscribe([name])
                self._ask(name, asked)
        asked_already = self._asked.get(name)
        if asked_already is None:
            return None
        waiting: Deferred[None] = Deferred()
        asked_already.addBoth(_tell, waiting)
        return waiting

    def _ask(self, name: bytes, asked: "Deferred[None]") -> None:
        self._asked[name] = asked
        asked.addBoth(self._answered, name)

    def _answered(self, _: object, name: bytes) -> None:
        # When the link was lost, the next connect subscribes again.
        self._asked.pop(name, None)

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Give a channel up, unless somebody subscribes again soon."""
        name = self._name(app_id, channel)
        if name in self._wanted and name not in self._leaving and self._deliver is not None:
            self._leaving[name] = self._link.clock.callLater(_LINGER, self._give_up, name)

    def _give_up(self, name: bytes) -> None:
        del self._leaving[name]
        if name in self._asked:  # Its answer must not be taken for that of a later subscription.
            self._leaving[name] = self._link.clock.callLater(_LINGER, self._give_up, name)
            return
        self._wanted.discard(name)
        self._link.unsubscribe(name)

    async def _subscribe_to_all(self) -> None:
        """Subscribe anew after a connect; the store asks for members only after this."""
        names = [self._common, *self._wanted]
        answers: list[Deferred[None]] = []
        for start in range(0, len(names), _PORTION):
            answers += self._link.subscribe(names[start : start + _PORTION])
        await wait_for_all(answers)

    # From the bus

    def _taken(self, channel: bytes, message: bytes) -> None:
        try:
            received = decode(message)
        except ValueError as error:
            self.link_meter.dropped += 1
            if self.link_meter.dropped == 1:
                self._log.warn(
                    "dropped a message on {channel} that is not of this server, or of a newer "
                    "one; further ones are only counted: {error}",
                    channel=ascii(channel),
                    error=error,
                )
            return
        try:
            self._pass_on(received)
        except Exception:  # noqa: BLE001 - one message's failure is not the connection's
            self._log.failure("delivering a message on {channel}", channel=ascii(channel))

    def _pass_on(self, received: BusMessage) -> None:
        body = received.body
        if isinstance(body, MemberChange):  # Ours too: all nodes see them in one order.
            self._take_member(body)
        elif received.node != self._link.node and self._deliver is not None:
            self._deliver(body)


def _tell(result: object, waiting: "Deferred[None]") -> object:
    waiting.callback(None)
    return result
