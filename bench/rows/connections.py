"""Connections: the cost of opening, keeping and losing them."""

import socket
import struct
from collections.abc import Iterator
from time import monotonic

from bench.arena import Crowd
from bench.context import Context
from bench.driving import Meter
from bench.machine import resident_bytes
from bench.results import Case, Figure

_PING_INTERVAL = 10
_QUICK_PING_INTERVAL = 2
_AFTERMATH = 10
_LINGER_0 = struct.pack("ii", 1, 0)


def per_connection(crowd: Crowd) -> list[Figure]:
    """Return the CPU time and memory per connection."""
    window = crowd.window
    memory = None
    if window.server_cpu is not None:
        memory = (window.rss[2] - window.rss[0]) / len(crowd) / 1024
    return [
        Figure("CPU per connection", window.cpu_per(len(crowd)), "µs", floored=True),
        Figure("memory per connection", memory, "KB"),
    ]


def connections(context: Context) -> Iterator[Case]:
    """Connect and subscribe clients."""
    with context.arena() as arena:
        crowd, _ = arena.subscribe(context.count(5_000), [arena.stream()])
    rate = Figure("connections", len(crowd) / crowd.window.seconds, "/s")
    label = f"{len(crowd):,} connect and subscribe"
    yield Case(
        label,
        [*per_connection(crowd), rate],
        crowd.window.generator,
        note=context.limit_note(5_000),
    )


def many_connections(context: Context) -> Iterator[Case]:
    """Measure memory for growing numbers of connections."""
    steps = 5
    count = context.count(50_000)
    with context.arena() as arena:
        pids = arena.target.pids
        stream = arena.stream()
        start = resident_bytes(pids)
        yield Case("no connection", [Figure("memory", start / 1e6 if pids else None, "MB")])
        for step in range(1, steps + 1):
            before = count * (step - 1) // steps
            now = count * step // steps
            crowd, _ = arena.subscribe(now - before, [stream])
            rss = crowd.window.rss[2]
            figures = [
                Figure("memory", rss / 1e6 if pids else None, "MB"),
                Figure("memory per connection", (rss - start) / now / 1024 if pids else None, "KB"),
            ]
            note = context.limit_note(50_000) if step == steps else ""
            yield Case(f"{now:,} connections", figures, crowd.window.generator, at=now, note=note)


def idle(context: Context) -> Iterator[Case]:
    """Keep idle connections, and ping each of them twice."""
    interval = _PING_INTERVAL if context.scale == 1 else _QUICK_PING_INTERVAL
    with context.arena(variables={"REVERB_APP_PING_INTERVAL": str(interval)}) as arena:
        crowd, _ = arena.subscribe(context.count(10_000), [arena.stream()])
        meter = Meter(arena.target.pids)
        # The server checks once a second, so a round takes one second more.
        arena.settle(2 * (interval + 1))
        window = meter.stop()
        pinged = sum(client.pinged for client in crowd.clients)
    figures = [
        Figure("CPU", None if window.server is None else 100 * window.server, "% of a core"),
        Figure("CPU per ping", window.cpu_per(pinged), "µs", floored=True),
    ]
    yield Case(
        f"{len(crowd):,} idle connections, each pinged {pinged / len(crowd):.1f} times in "
        f"{window.seconds:.0f} s",
        figures,
        window.generator,
        note=context.limit_note(10_000),
    )


def departure(context: Context) -> Iterator[Case]:
    """Reset all connections, and measure the memory and connections left."""
    with context.arena() as arena:
        stream = arena.stream()
        before = resident_bytes(arena.target.pids)
        crowd, subscribers = arena.subscribe(context.count(10_000), [stream])
        full = resident_bytes(arena.target.pids)
        for subscriber in subscribers:
            subscriber.leave()
        start = monotonic()
        for client in crowd.clients:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            client.close()
        gone = monotonic() - start
        arena.subscribe(1, [stream])
        wait = monotonic() - start
        arena.settle(_AFTERMATH if context.scale == 1 else 1)
        answer = arena.ask("/connections")
        after = resident_bytes(arena.target.pids)
    known = bool(arena.target.pids)
    yield Case(
        f"{len(crowd):,} clients disconnect within {gone:.2f} s",
        [
            Figure("until a new client is subscribed", wait, "s"),
            Figure("memory before", before / 1e6 if known else None, "MB"),
            Figure("memory with them", full / 1e6 if known else None, "MB"),
            Figure("memory afterwards", after / 1e6 if known else None, "MB"),
            Figure("connections afterwards", answer and answer["connections"], ""),
        ],
        note=context.limit_note(10_000) or "The new client is the one connection left.",
    )
