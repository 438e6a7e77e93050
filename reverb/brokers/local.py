"""The broker of a single node."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from reverb.envelope import Envelope
from reverb.interfaces import IBroker


@implementer(IBroker)
class LocalBroker:
    """Delivers envelopes to this process only, synchronously."""

    connected = True
    unavailable_reason: str | None = None

    def __init__(self) -> None:
        self._deliver: Callable[[Envelope], None] | None = None

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Start delivering; the Deferred fires at once."""
        self._deliver = deliver
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """Stop delivering; the Deferred fires at once."""
        self._deliver = None
        return succeed(None)

    def subscribe(self, app_id: str, channel: str) -> None:
        """Do nothing: a single node receives every publication anyway."""

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Do nothing, like :meth:`subscribe`."""

    def publish(self, envelope: Envelope) -> bool:
        """Deliver an envelope to this node, and return True.

        Before the start and after the stop, the envelope is dropped.
        """
        if self._deliver is not None:
            self._deliver(envelope)
        return True
