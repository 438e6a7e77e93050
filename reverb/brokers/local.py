"""The broker of a node that is alone."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from reverb.envelope import Envelope
from reverb.interfaces import IBroker


@implementer(IBroker)
class LocalBroker:
    """Delivers to this process at once, and to nobody else."""

    connected = True
    unavailable_reason: str | None = None

    def __init__(self) -> None:
        self._deliver: Callable[[Envelope], None] | None = None

    def start(self, deliver: Callable[[Envelope], None]) -> "Deferred[None]":
        """Begin to deliver; fires at once."""
        self._deliver = deliver
        return succeed(None)

    def stop(self) -> "Deferred[None]":
        """End delivery; fires at once."""
        self._deliver = None
        return succeed(None)

    def subscribe(self, app_id: str, channel: str) -> None:
        """Have nothing to do: all that is published here is delivered here."""

    def unsubscribe(self, app_id: str, channel: str) -> None:
        """Have nothing to do."""

    def publish(self, envelope: Envelope) -> bool:
        """Deliver here; what comes before the start or after the stop has nobody to go to."""
        if self._deliver is not None:
            self._deliver(envelope)
        return True
