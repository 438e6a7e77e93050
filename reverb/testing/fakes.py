"""Fakes of a connection and a broker, for unit tests of the hub."""

from zope.interface import implementer

from reverb.brokers.local import LocalBroker
from reverb.envelope import Envelope
from reverb.interfaces import IConnection
from reverb.testing.wire import parse_frame


@implementer(IConnection)
class MemoryConnection:
    """A connection that records the frames sent to it, for unit tests of the hub.

    Attributes:
        frames: The byte strings passed to :meth:`send`; each contains one or more frames.
        closed: The code and the reason passed to :meth:`close`; None before that.
    """

    def __init__(self, socket_id: str = "1.1") -> None:
        self.socket_id = socket_id
        self.frames: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        """Record a byte string, which contains one or more frames."""
        self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        """Record the code and the reason."""
        self.closed = (code, reason)

    def payloads(self) -> list[bytes]:
        """Return the payload of each recorded frame, in order."""
        data, payloads = b"".join(self.frames), []
        while (parsed := parse_frame(data)) is not None:
            _, payload, data = parsed
            payloads.append(payload)
        return payloads


class HeldBroker(LocalBroker):
    """A broker that holds envelopes back until the test releases them.

    Attributes:
        held: The envelopes that are published but not delivered yet.
        connected: Set by the test: whether the broker reports that it reaches the other nodes.
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
