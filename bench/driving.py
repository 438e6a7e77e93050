"""Publishing at full speed or at a fixed rate, with the resources used meanwhile."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from bench.loop import Loop
from bench.machine import cpu_seconds, own_cpu_seconds, resident_bytes
from bench.publisher import Publisher
from bench.results import RowFailedError
from bench.stream import Stream, Tally

_STALL_TIMEOUT = 10
"""Seconds without any delivery after which a message counts as lost."""
_AFTERMATH = 1
"""Seconds to collect late messages, which show what exactly went wrong."""
_SAMPLE_EVERY = 0.25
_CLOCK_TICK = 0.002
"""The delay of epoll that is tolerated; the latency of a later publish counts from its due time."""


@dataclass(frozen=True)
class Window:
    """The measurements of one window.

    Attributes:
        seconds: Its length.
        server_cpu: CPU seconds of the server; None without its pid.
        own_cpu: CPU seconds of this process.
        messages: Publications that reached all subscribers.
        rss: Bytes of the server's memory: before, peak, after.
        latencies: Sorted seconds, if latencies were recorded.
        late: The fraction of the publishes that were sent late.
    """

    seconds: float
    server_cpu: float | None
    own_cpu: float
    messages: int = 0
    rss: tuple[int, int, int] = (0, 0, 0)
    latencies: Sequence[float] = ()
    late: float = 0

    @property
    def generator(self) -> float:
        """The fraction of a core that the generator used."""
        return self.own_cpu / self.seconds

    @property
    def server(self) -> float | None:
        """The fraction of a core that the server used."""
        return None if self.server_cpu is None else self.server_cpu / self.seconds

    def cpu_per(self, count: float) -> float | None:
        """Return the server's CPU time per item, in microseconds."""
        if self.server_cpu is None or not count:
            return None
        return self.server_cpu * 1e6 / count

    def latency(self, part: float) -> float:
        """Return a quantile of the latencies, in milliseconds."""
        if not self.latencies:
            return float("nan")
        index = min(len(self.latencies) - 1, int(part * len(self.latencies)))
        return self.latencies[index] * 1e3


class Meter:
    """Measures CPU time and memory over a window.

    Args:
        pids: The server's processes; empty if they are unknown.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._rss_before = self._rss_peak = resident_bytes(pids)
        self._next_sample = 0.0
        self.start = monotonic()
        self._cpu = cpu_seconds(pids)
        self._own = own_cpu_seconds()

    def sample(self, now: float) -> None:
        """Sample the memory, if a sample is due."""
        if now >= self._next_sample:
            self._next_sample = now + _SAMPLE_EVERY
            self._rss_peak = max(self._rss_peak, resident_bytes(self._pids))

    def stop(self, messages: int = 0) -> Window:
        """End the window, and return its measurements."""
        seconds = monotonic() - self.start
        server, own = cpu_seconds(self._pids) - self._cpu, own_cpu_seconds() - self._own
        after = resident_bytes(self._pids)
        return Window(
            seconds=seconds,
            server_cpu=server if self._pids else None,
            own_cpu=own,
            messages=messages,
            rss=(self._rss_before, max(self._rss_peak, after), after),
        )


class Driver:
    """Publishes to streams.

    Args:
        loop: The event loop.
        tally: The streams' deliveries.
        publishers: The number of publishing connections.
        open_publisher: Opens a publishing connection.
        choose: Returns the stream for the next message.
        batch: The number of messages in one request.
        pids: The server's processes.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        tally: Tally,
        publishers: int,
        open_publisher: Callable[[int, Callable[[Publisher], None]], Publisher],
        choose: Callable[[], Stream],
        batch: int,
        pids: Sequence[int],
    ) -> None:
        self._loop = loop
        self._tally = tally
        self._choose = choose
        self._batch = batch
        self._pids = pids
        self._issued = tally.completed
        self._idle: list[Publisher] = []
        self._publishers = [open_publisher(n, self._idle.append) for n in range(publishers)]
        self._idle += self._publishers

    def saturate(self, seconds: float, in_flight: int) -> Window:
        """Publish at full speed, with at most ``in_flight`` undelivered messages."""
        meter, before = Meter(self._pids), self._tally.completed
        end = meter.start + seconds
        stalls = _Stalls(self._tally)
        most = in_flight * self._batch
        while (now := monotonic()) < end and not stalls.at(now):
            while self._idle and self._issued - self._tally.completed < most:
                self._publish(now)
            self._loop.turn(0.05)
            meter.sample(now)
        self._drain(stalls)
        return meter.stop(self._tally.completed - before)

    def pace(self, seconds: float, rate: float) -> Window:
        """Publish at a fixed rate, and record the latency of each delivery."""
        meter, before = Meter(self._pids), self._tally.completed
        latencies = self._tally.latencies = array("d")
        due, end, late = meter.start, meter.start + seconds, 0
        stalls = _Stalls(self._tally)
        while (now := monotonic()) < end and not stalls.at(now):
            if now >= due and self._idle:
                is_late = now - due > _CLOCK_TICK
                late += is_late
                self._publish(due if is_late else now)
                due += self._batch / rate
                continue
            # Without an idle publisher, the next reply wakes the loop.
            self._loop.turn(max(0.0, due - now) if self._idle else 0.05)
            meter.sample(now)
        self._drain(stalls)
        self._tally.latencies = None
        window = meter.stop(self._tally.completed - before)
        late_part = late * self._batch / max(1, window.messages)
        return replace(window, latencies=sorted(latencies), late=late_part)

    def _publish(self, now: float) -> None:
        publisher = self._idle.pop()
        events = []
        for _ in range(self._batch):
            stream = self._choose()
            channel = stream.channel_of(publisher.number)
            data = stream.ledger.issue(publisher.number, now)
            events.append(f'{{"name":"bench","channel":"{channel}","data":"{data}"}}')
        self._issued += self._batch
        if self._batch == 1:
            publisher.post("/events", events[0])
        else:
            publisher.post("/batch_events", f'{{"batch":[{",".join(events)}]}}')

    def _drain(self, stalls: "_Stalls") -> None:
        """Wait for the deliveries in flight, which belong to the window."""
        while not stalls.at(monotonic()):
            if self._tally.completed >= self._issued and len(self._idle) == len(self._publishers):
                return
            self._loop.turn(0.05)
        end = monotonic() + _AFTERMATH
        while monotonic() < end:
            self._loop.turn(0.05)

    def close(self) -> None:
        """Close the publishers' connections."""
        for publisher in self._publishers:
            publisher.close()


class _Stalls:
    """Detects a stall: no delivery for some seconds, or a wrong message."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._completed = tally.completed
        self._since = monotonic()

    def at(self, now: float) -> bool:
        if self._tally.completed != self._completed:
            self._completed = self._tally.completed
            self._since = now
        return now - self._since > _STALL_TIMEOUT or self._tally.astray > 0


def check(streams: Sequence[Stream]) -> None:
    """Check that every message reached every subscriber once and in order.

    Raises:
        RowFailedError: A message is missing; the text names it and the subscriber.
    """
    problems = [problem for stream in streams for problem in stream.problems()]
    if problems:
        more = f" (and {len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise RowFailedError(problems[0] + more)
