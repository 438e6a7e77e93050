"""The common part of the brokers that connect nodes over a message bus.

A node subscribes to one topic for each channel of its interest, and to the
broadcast topic, whose envelopes concern all nodes. The node delivers its own
publications to local subscribers directly, so the node drops its own publications
when the bus returns them.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from reverb.brokers.interest import Interest
from reverb.brokers.link import Link
from reverb.envelope import (
    Envelope,
    MemberChange,
    Publication,
    Termination,
    decode,
    encode,
)
from reverb.interfaces import IBroker, ILinked
from reverb.log_throttle import LogThrottle
from reverb.protocol.validity import check_member, check_payload
from reverb.throttled_log import FailureLog


@implementer(IBroker, ILinked)
class BusBroker:
    """Delivers envelopes to this process synchronously, and to the other nodes over the bus.

    A subclass maps channels to topics in :meth:`_topic`.

    Args:
        link: The link to the bus; started and stopped with the broker.
        broadcast_topic: The topic for envelopes that concern all nodes.

    Attributes:
        link: The link to the bus.
        link_meter: The counters of the connection that receives messages.
    """

    _log = Logger()

    def __init__(self, link: Link, broadcast_topic: bytes) -> None:
        self.link = link
        self._deliver: Callable[[Envelope], None] | None = None
        self._failures = FailureLog(self._log)
        self._broadcast_topic = broadcast_topic
        self._interest = Interest(link, broadcast_topic)
        self.link_meter = link.bus_meter
        self._last_unreadable = ""
        self._unreadable = LogThrottle(self._log_unreadable, link.clock)

    def _topic(self, app_id: str, channel: str) -> bytes:
        """Return the bus's topic for a channel."""
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether publications reach the other nodes."""
        return self.link.is_up

    @property
    def unavailable_reason(self) -> str | None:
        """Why publications do not reach the other nodes; None when they do."""
        return self.link.unavailable_reason

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Start to deliver envelopes, and start to connect to the bus.

        Returns:
            A Deferred that fires at once, because the node serves its own clients even without the
            bus.
        """
        self._deliver = deliver
        self.link.start(self._message_received)
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Stop delivering, and close the connections; the Deferred fires when they are closed."""
        self._deliver = None
        self._interest.stop()
        return self.link.stop()

    def subscribe(self, app_id: str, channel: str) -> "Deferred[None] | None":
        """Subscribe to the other nodes' publications to a channel."""
        return self._interest.subscribe(self._topic(app_id, channel))

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Unsubscribe from a channel after a delay.

        A new subscription within the delay cancels the unsubscription.
        """
        if self._deliver is not None:
            self._interest.unsubscribe_later(self._topic(app_id, channel))

    def publish(self, envelope: Envelope) -> bool:
        """Deliver an envelope to this node now, and to other nodes when the reactor's turn ends.

        Returns:
            Whether the envelope will be sent to the other nodes.
        """
        if self._deliver is None:
            return False
        sent = False
        if self.link.is_open:  # Sent before the delivery, which may publish the next envelope.
            topic = self._broadcast_topic
            if not isinstance(envelope, Termination):
                topic = self._topic(envelope.app_id, envelope.channel)
            sent = self.link.send(topic, encode(self.link.node, envelope))
        self._deliver(envelope)
        return sent

    # From the bus

    def _message_received(self, topic: bytes, message: bytes) -> None:
        try:
            received = decode(message)
            body = received.body
            # This node delivered its own envelopes when it published them. But it applies its own
            # member changes only here, so that all nodes apply all member changes in one order.
            if received.node == self.link.node and not isinstance(body, MemberChange):
                return
            _check(body)
        except ValueError as error:
            self.link_meter.dropped += 1
            self._last_unreadable = f"on {topic!a}: {error}"
            self._unreadable.record("messages from the bus")
            return
        try:
            self._dispatch(body)
        except Exception:  # noqa: BLE001 - one message's failure must not end the connection
            self._failures.failure("failed to deliver a message on {topic}", topic=ascii(topic))

    def _log_unreadable(self, what: str, count: int) -> None:
        self._log.warn(
            "dropped {count} unreadable {what}, sent by another program or a newer version of this "
            "server; most recently {last}",
            count=count,
            what=what,
            last=self._last_unreadable,
        )

    def _dispatch(self, body: Envelope | MemberChange) -> None:
        if self._deliver is not None and not isinstance(body, MemberChange):
            self._deliver(body)


def _check(body: Envelope | MemberChange) -> None:
    """Raise ValueError if the payload or the member in a message from the bus is invalid."""
    if isinstance(body, Publication):
        check_payload(body.payload, body.channel)
    elif isinstance(body, MemberChange):
        check_member(body.user_id, body.user_info)
