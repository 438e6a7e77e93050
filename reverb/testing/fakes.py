"""Fakes of the hub's neighbours, for tests of the hub alone."""

from zope.interface import implementer

from reverb.brokers.local import LocalBroker
from reverb.envelope import Envelope
from reverb.interfaces import IConnection
from reverb.testing.wire import parse_frame


@implementer(IConnection)
class MemoryConnection:
    """A connection that keeps what it is sent; for tests of the hub alone.

    Attributes:
        frames: The frames, as they were sent.
        closed: The code and reason it was closed with.
    """

    def __init__(self, socket_id: str = "1.1") -> None:
        self.socket_id = socket_id
        self.frames: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        """Keep a frame."""
        self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        """Keep why."""
        self.closed = (code, reason)

    def payloads(self) -> list[bytes]:
        """Take the frames apart."""
        data, payloads = b"".join(self.frames), []
        while (parsed := parse_frame(data)) is not None:
            _, payload, data = parsed
            payloads.append(payload)
        return payloads


class HeldBroker(LocalBroker):
    """A broker that delivers when the test says so.

    Attributes:
        held: What has been published and not delivered.
        connected: Whether it claims to be connected, and to reach other nodes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connected = True
        self.held: list[Envelope] = []

    def publish(self, envelope: Envelope) -> bool:
        """Hold an envelope back."""
        self.held.append(envelope)
        return self.connected

    def release(self) -> None:
        """Deliver what is held, in order."""
        held, self.held = self.held, []
        for envelope in held:
            assert self._deliver is not None, "the broker has not been started"
            self._deliver(envelope)
