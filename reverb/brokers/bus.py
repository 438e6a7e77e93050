"""What the brokers have in common by which nodes reach each other over a bus.

A node is subscribed to the channels that its own clients are subscribed to,
and to one more name for what concerns all nodes. Its own clients are served
without the round trip, and what it gets back of its own messages is dropped.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from reverb.brokers.interest import Interest
from reverb.brokers.link import Link
from reverb.envelope import (
    BusMessage,
    Envelope,
    MemberChange,
    Termination,
    decode,
    encode,
)
from reverb.interfaces import IBroker, ILinked


@implementer(IBroker, ILinked)
class BusBroker:
    """Delivers to this process at once, and to the other nodes over the bus.

    A subclass says how the bus calls a channel.

    Args:
        link: The way to the bus; started and stopped with the broker.
        common: The bus's name of what concerns all nodes.

    Attributes:
        link: The way to the bus.
        link_meter: What is counted of the connection that brings messages.
    """

    _log = Logger()

    def __init__(self, link: Link, common: bytes) -> None:
        self.link = link
        self._deliver: Callable[[Envelope], None] | None = None
        self._common = common
        self._interest = Interest(link, common)
        self.link_meter = link.bus_meter
        self._told_of_strangers = False
        link.on_message = self._taken

    def _name(self, app_id: str, channel: str) -> bytes:
        """Say what the bus calls a channel."""
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether publications reach the other nodes."""
        return self.link.unavailable_reason is None

    @property
    def unavailable_reason(self) -> str | None:
        """Why they do not."""
        return self.link.unavailable_reason

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Begin to deliver, and to connect.

        Returns:
            Fires at once: until the bus is there, the node serves its own clients.
        """
        self._deliver = deliver
        self.link.start()
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """End delivery and the connections."""
        self._deliver = None
        self._interest.stop()
        return Deferred.fromCoroutine(self.link.stop())

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        """Want what other nodes publish to a channel."""
        return self._interest.want(self._name(app_id, channel))

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Give a channel up, unless somebody subscribes again soon."""
        if self._deliver is not None:
            self._interest.leave(self._name(app_id, channel))

    def publish(self, envelope: Envelope) -> bool:
        """Send to the other nodes when this turn of the reactor ends, and deliver here."""
        if self._deliver is None:
            return False
        sent = False
        if self.link.is_open:  # Before delivering, which may lead to the next publication.
            name = self._common
            if not isinstance(envelope, Termination):
                name = self._name(envelope.app_id, envelope.channel)
            sent = self.link.send(name, encode(self.link.node, envelope))
        self._deliver(envelope)
        return sent

    # From the bus

    def _taken(self, name: bytes, message: bytes) -> None:
        try:
            received = decode(message)
        except ValueError as error:
            self.link_meter.dropped += 1
            if not self._told_of_strangers:
                self._told_of_strangers = True
                self._log.warn(
                    "dropped a message on {channel} that is not of this server, or of a newer "
                    "one; further ones are only counted: {error}",
                    channel=ascii(name),
                    error=error,
                )
            return
        try:
            self._pass_on(received)
        except Exception:  # noqa: BLE001 - one message's failure is not the connection's
            self._log.failure("delivering a message on {channel}", channel=ascii(name))

    def _pass_on(self, received: BusMessage) -> None:
        body = received.body
        if not isinstance(body, MemberChange) and received.node != self.link.node:
            self._take_envelope(body)

    def _take_envelope(self, envelope: Envelope) -> None:
        if self._deliver is not None:
            self._deliver(envelope)
