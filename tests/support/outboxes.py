"""Outboxes on a transport of a test."""

from twisted.internet.task import Clock

from reverb.meter import Meter
from reverb.transport.outbox import BufferLimit, DirectOutbox, SocketTable, make_outbox
from reverb.transport.slow_peers import SlowPeerLimits, SlowPeers
from reverb.transport.timing_wheel import TimingWheel


class Owner:
    """The owner of an outbox; it records what the outbox tells it.

    Attributes:
        reasons: The reasons for which the client was too slow.
        calls: The other calls in order: "full" and "empty".
    """

    def __init__(self):
        self.reasons = []
        self.calls = []

    def outbox_full(self):
        self.calls.append("full")

    def outbox_empty(self):
        self.calls.append("empty")

    def too_slow(self, reason):
        self.reasons.append(reason)

    @property
    def times(self):
        """How often the client was too slow."""
        return len(self.reasons)


def make_slow_peers(clock=None, *limits):
    """Make the watch of slow peers, on a clock that a test advances."""
    wheel = TimingWheel(clock or Clock(), Meter())
    wheel.start()
    return SlowPeers(wheel, SlowPeerLimits(*limits))


def outbox_for(transport, max_bytes=0, owner=None):
    """Make the outbox that the server would make for a transport."""
    return make_outbox(transport, SocketTable(), make_slow_peers(), max_bytes, owner or Owner())


def direct_outbox(transport, sockets, max_bytes, owner, slow_peers=None):
    """Make an outbox that writes to a plain socket directly."""
    if slow_peers is None:
        slow_peers = make_slow_peers()
    return DirectOutbox(transport, sockets, slow_peers, BufferLimit(max_bytes), owner)
