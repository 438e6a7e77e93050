"""Fakes of a connection and a broker, for unit tests of the hub."""

from zope.interface import implementer

from reverb.brokers.local import LocalBroker
from reverb.envelope import Envelope
from reverb.interfaces import IConnection
from reverb.protocol.frames import FrameBatch


@implementer(IConnection)
class MemoryConnection:
    """A connection that records the messages sent to it, for unit tests of the hub.

    Attributes:
        writes: The payloads of each call of :meth:`send` or :meth:`send_batch`.
        closed: The code and the reason passed to :meth:`close`; None until :meth:`close` is called.
    """

    def __init__(self, socket_id: str = "1.1") -> None:
        self.socket_id = socket_id
        self.writes: list[list[bytes]] = []
        self.closed: tuple[int, str] | None = None

    def send(self, payload: bytes) -> int:
        """Record a message; return its size in bytes."""
        self.writes.append([payload])
        return len(payload)

    def send_batch(self, batch: FrameBatch) -> None:
        """Record the messages of a batch."""
        self.writes.append([frame.payload for frame in batch.frames])

    def close(self, code: int, reason: str) -> None:
        """Record the close code and the reason."""
        self.closed = (code, reason)

    def payloads(self) -> list[bytes]:
        """Return the recorded messages in order."""
        return [payload for write in self.writes for payload in write]


class HeldBroker(LocalBroker):
    """A broker that holds envelopes back until the test releases them.

    Attributes:
        held: The envelopes that are published but not delivered yet.
        connected: Whether the broker reports that it reaches the other nodes; a test may set it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connected = True
        self.held: list[Envelope] = []

    def publish(self, envelope: Envelope) -> bool:
        """Hold an envelope back, and return :attr:`connected`."""
        self.held.append(envelope)
        return self.connected

    def release(self) -> None:
        """Deliver the held envelopes in order."""
        held, self.held = self.held, []
        for envelope in held:
            assert self._deliver is not None, "the broker has not been started"
            self._deliver(envelope)
