"""The definition of a slow peer, for WebSockets and for HTTP.

A peer is slow when bytes wait for it in this process, and it has taken fewer than
``bytes_per_second`` over ``timeout`` seconds. How many bytes wait does not matter: a phone that
takes a large message steadily is not slow. What the peer has acknowledged counts as taken.

Only connections with waiting bytes are sampled, once a second. So the check costs nothing for a
message that the kernel accepts at once.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

from twisted.internet.interfaces import ITransport

from reverb.transport.socket_stats import (
    acknowledged_bytes,
    find_descriptor,
    progress_mark,
    queued_bytes,
)
from reverb.transport.timing_wheel import TimingWheel


class SlowPeerLimits(NamedTuple):
    """When a peer is slow."""

    bytes_per_second: int = 1_000
    """The rate at which a peer must take the bytes that wait for it; 0 for any rate."""
    timeout: int = 20
    """Seconds over which the rate is measured."""


class _Sample:
    """The progress of one peer since a point in time."""

    def __init__(
        self, since: int, taken: int, mark: Hashable, on_slow: Callable[[str], None]
    ) -> None:
        self.since = since
        self.taken = taken
        self.mark = mark
        self.on_slow = on_slow


class SlowPeers:
    """Samples the connections for which bytes wait, and reports the slow peers.

    Args:
        timing_wheel: Calls the sampler once a second while a connection is watched.
        limits: When a peer is slow.
    """

    def __init__(self, timing_wheel: TimingWheel, limits: SlowPeerLimits) -> None:
        self._timing_wheel = timing_wheel
        self._limits = limits
        self._samples: dict[ITransport, _Sample] = {}
        self._due = 0

    def __len__(self) -> int:
        return len(self._samples)

    def watch(self, transport: ITransport, on_slow: Callable[[str], None]) -> None:
        """Watch a connection until no bytes wait for its peer; do nothing if it is watched.

        Args:
            transport: The transport of the connection.
            on_slow: Called once, with a reason, if the peer is slow. The connection is not watched
                any more by then.
        """
        if not self._limits.bytes_per_second or transport in self._samples:
            return
        descriptor = find_descriptor(transport)
        if descriptor is not None and not descriptor.connected:
            return
        if not self._samples:
            self._due = self._timing_wheel.schedule(0, self._sample_all)
        taken = 0 if descriptor is None else acknowledged_bytes(descriptor)
        mark = None if descriptor is None else progress_mark(descriptor)
        self._samples[transport] = _Sample(self._timing_wheel.now, taken, mark, on_slow)

    def forget(self, transport: ITransport) -> None:
        """Stop to watch a connection; do nothing if it is not watched."""
        if self._samples.pop(transport, None) is not None and not self._samples:
            self._timing_wheel.cancel(self._due, self._sample_all)

    def _sample_all(self) -> None:
        slow = []
        for transport, sample in list(self._samples.items()):
            if not self._waits(transport):
                del self._samples[transport]
            elif self._is_slow(transport, sample):
                del self._samples[transport]
                slow.append(sample)
        if self._samples:
            self._due = self._timing_wheel.schedule(0, self._sample_all)
        rate, seconds = self._limits
        for sample in slow:
            sample.on_slow(f"fewer than {rate} bytes/s were read for {seconds} s")

    def _waits(self, transport: ITransport) -> bool:
        descriptor = find_descriptor(transport)
        # A fake transport says itself that it is empty: its producer calls forget().
        return descriptor is None or bool(descriptor.connected and queued_bytes(descriptor))

    def _is_slow(self, transport: ITransport, sample: _Sample) -> bool:
        now, limits = self._timing_wheel.now, self._limits
        descriptor = find_descriptor(transport)
        if descriptor is not None:
            taken, mark = acknowledged_bytes(descriptor), progress_mark(descriptor)
            # Without the kernel's count, a peer that takes anything at all is not slow.
            enough = (
                taken - sample.taken >= limits.bytes_per_second * limits.timeout
                if taken
                else mark != sample.mark
            )
            if enough:
                sample.since, sample.taken, sample.mark = now, taken, mark
        return now - sample.since > limits.timeout  # At least so many whole seconds.
