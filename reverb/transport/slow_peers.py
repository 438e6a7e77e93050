"""Detects slow peers, for WebSockets and for HTTP.

A peer is slow when bytes are queued for the peer in this process, and the peer has taken fewer than
``bytes_per_second`` over ``timeout`` seconds. The number of queued bytes does not matter: a phone
that takes a large message steadily is not slow. A byte counts as taken when the peer has
acknowledged the byte.

Only connections with queued bytes are checked, once a second. So a message that the kernel accepts
at once costs no check.
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
    """The rate below which a peer is slow."""

    bytes_per_second: int = 1_000
    """The lowest rate at which a peer may take queued bytes without being slow; 0 for no limit."""
    timeout: int = 20
    """Seconds over which the rate is measured."""


class _Sample:
    """The number of bytes that one peer had taken by a point in time."""

    def __init__(
        self, since: int, taken: int, mark: Hashable, on_slow: Callable[[str], None]
    ) -> None:
        self.since = since
        self.taken = taken
        self.mark = mark
        self.on_slow = on_slow


class SlowPeers:
    """Checks the connections with queued bytes, and reports the slow peers.

    Args:
        timing_wheel: Schedules the check, once a second while a connection is watched.
        limits: The rate below which a peer is slow.
    """

    def __init__(self, timing_wheel: TimingWheel, limits: SlowPeerLimits) -> None:
        self._timing_wheel = timing_wheel
        self._limits = limits
        self._samples: dict[ITransport, _Sample] = {}
        self._due = 0

    def __len__(self) -> int:
        return len(self._samples)

    def watch(self, transport: ITransport, on_slow: Callable[[str], None]) -> None:
        """Watch a connection until no bytes are queued; do nothing if it is already watched.

        Args:
            transport: The transport of the connection.
            on_slow: Called once, with the reason as a text, if the peer is slow. When
                ``on_slow`` is called, the connection is no longer watched.
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
        """Stop watching a connection; do nothing if it is not watched."""
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
        # A fake transport has no count. Its producer calls forget() when no bytes are queued.
        return descriptor is None or bool(descriptor.connected and queued_bytes(descriptor))

    def _is_slow(self, transport: ITransport, sample: _Sample) -> bool:
        now, limits = self._timing_wheel.now, self._limits
        descriptor = find_descriptor(transport)
        if descriptor is not None:
            taken, mark = acknowledged_bytes(descriptor), progress_mark(descriptor)
            # If the kernel does not count acknowledged bytes, a peer that takes any is not slow.
            enough = (
                taken - sample.taken >= limits.bytes_per_second * limits.timeout
                if taken
                else mark != sample.mark
            )
            if enough:
                sample.since, sample.taken, sample.mark = now, taken, mark
        return now - sample.since > limits.timeout  # At least timeout full seconds.
