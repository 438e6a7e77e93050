"""Channels with many subscribers."""

from collections.abc import Iterator

from bench.arena import Arena
from bench.context import Context
from bench.driving import Window
from bench.results import Case, Figure

_PACED_PUBLISHERS = 8


def delivery_figures(window: Window, subscribers: int) -> list[Figure]:
    """Return the CPU time per delivery and the rate of deliveries."""
    deliveries = window.messages * subscribers
    return [
        Figure("CPU per delivery", window.cpu_per(deliveries), "µs", floored=True),
        Figure("deliveries", deliveries / window.seconds, "/s"),
    ]


def latency_figures(window: Window) -> list[Figure]:
    """Return quantiles of the delivery latencies."""
    return [
        Figure("p50", window.latency(0.5), "ms"),
        Figure("p99", window.latency(0.99), "ms"),
        Figure("p99.9", window.latency(0.999), "ms"),
    ]


def saturated(
    context: Context, arena: Arena, in_flight: int = 1, batch: int = 1, channels: int = 1
) -> Case:
    """Publish at full speed to 1,000 subscribers, all of the same channels."""
    subscribers = context.count(1_000)
    stream = arena.stream(channels=channels)
    arena.subscribe(subscribers, [stream])
    driver = arena.driver([stream], in_flight, batch)
    driver.saturate(context.warm_up, in_flight)
    window = driver.saturate(context.seconds, in_flight)
    arena.check()
    who = "1 publisher" if in_flight == 1 else f"{in_flight} publishers"
    how = f", batches of {batch}" if batch > 1 else ""
    where = f" on {channels} channels" if channels > 1 else ""
    label = f"{who}{how}{where}, {subscribers:,} subscribers"
    return Case(label, delivery_figures(window, subscribers), window.generator)


def one_at_a_time(context: Context) -> Iterator[Case]:
    """Wait for all deliveries before the next publish."""
    with context.arena() as arena:
        yield saturated(context, arena)


def many_publishers(context: Context) -> Iterator[Case]:
    """Publish ten messages at once."""
    with context.arena() as arena:
        yield saturated(context, arena, in_flight=10)


def batches(context: Context) -> Iterator[Case]:
    """Publish a hundred messages at once, in ten requests."""
    with context.arena() as arena:
        yield saturated(context, arena, in_flight=10, batch=10)


def shared_channels(context: Context) -> Iterator[Case]:
    """Publish ten messages at once, each to another channel of the same subscribers."""
    with context.arena() as arena:
        yield saturated(context, arena, in_flight=10, channels=10)


def latency(context: Context) -> Iterator[Case]:
    """Publish at a fixed rate."""
    subscribers = context.count(1_000)
    with context.arena() as arena:
        stream = arena.stream()
        arena.subscribe(subscribers, [stream])
        driver = arena.driver([stream], _PACED_PUBLISHERS)
        driver.pace(context.warm_up, 40)
        window = driver.pace(2 * context.seconds, 40)
        arena.check()
        label = f"40 publishes/s, {subscribers:,} subscribers"
        yield Case(label, latency_figures(window), window.generator, late=window.late)


def scale(context: Context) -> Iterator[Case]:
    """Measure throughput and latency for growing numbers of subscribers."""
    for subscribers in (10, 100, 1_000, 10_000):
        count = context.count(subscribers)
        with context.arena() as arena:
            stream = arena.stream()
            arena.subscribe(count, [stream])
            driver = arena.driver([stream], _PACED_PUBLISHERS)
            driver.saturate(context.warm_up, 1)
            fast = driver.saturate(context.seconds, 1)
            paced = driver.pace(1.5 * context.seconds, 10)
            arena.check()
        yield Case(
            f"{count:,} subscribers",
            delivery_figures(fast, count) + latency_figures(paced)[:2],
            max(fast.generator, paced.generator),
            at=count,
            late=paced.late,
            note=context.limit_note(subscribers),
        )


def rates(context: Context) -> Iterator[Case]:
    """Measure the CPU that growing rates take."""
    subscribers = context.count(1_000)
    with context.arena() as arena:
        stream = arena.stream()
        arena.subscribe(subscribers, [stream])
        driver = arena.driver([stream], _PACED_PUBLISHERS)
        driver.pace(context.warm_up, 40)
        for rate in (10, 20, 40, 80, 120):
            window = driver.pace(context.seconds, rate)
            arena.check()
            cpu = None if window.server is None else 100 * window.server
            yield Case(
                f"{rate} publishes/s, {subscribers:,} subscribers",
                [Figure("CPU", cpu, "% of a core")],
                window.generator,
                at=rate,
                late=window.late,
            )
