"""Clients that stop reading."""

import socket
from collections.abc import Iterator, Sequence
from time import monotonic

from bench.arena import Arena
from bench.context import Context
from bench.loop import ENDED
from bench.results import Case, Figure
from bench.rows.fanout import latency_figures
from bench.subscriber import Subscriber

_RATE = 100
_MESSAGE_BYTES = 2_000
_PUBLISHERS = 8
_SECONDS = 10
"""How long to publish: enough to exceed the server's limit of 1 MB and the kernel's buffers."""


def slow_clients(context: Context) -> Iterator[Case]:
    """Let none, one, and a tenth of the subscribers stop reading."""
    subscribers = context.count(1_000)
    for slow in (0, 1, subscribers // 10):
        with context.arena() as arena:
            yield _case(context, arena, subscribers, slow)


def _case(context: Context, arena: Arena, count: int, slow: int) -> Case:
    stream = arena.stream(_MESSAGE_BYTES)
    _, subscribers = arena.subscribe(count, [stream])
    driver = arena.driver([stream], _PUBLISHERS)
    driver.pace(context.warm_up, _RATE)
    slow_readers = _SlowReaders(subscribers[:slow])
    window = driver.pace(_SECONDS, _RATE)
    arena.check()
    cpu = None if window.server is None else 100 * window.server
    figures = [*latency_figures(window), Figure("CPU", cpu, "% of a core")]
    if arena.target.pids:
        figures.append(Figure("memory growth", (window.rss[1] - window.rss[0]) / 1e6, "MB"))
    if slow:
        figures.append(Figure("slow clients disconnected", len(slow_readers.times), f"of {slow}"))
    if slow_readers.times:
        figures.append(Figure("until the last disconnect", slow_readers.times[-1], "s"))
    return Case(f"{slow} of {count:,} do not read", figures, window.generator, late=window.late)


class _SlowReaders:
    """Subscribers that stop reading until the server disconnects them.

    Args:
        subscribers: The subscribers to stop.

    Attributes:
        times: The seconds after which each was disconnected.
    """

    def __init__(self, subscribers: Sequence[Subscriber]) -> None:
        self.times: list[float] = []
        self._start = monotonic()
        for subscriber in subscribers:
            self._stop(subscriber)

    def _stop(self, subscriber: Subscriber) -> None:
        client = subscriber.client

        def ended() -> None:
            self.times.append(monotonic() - self._start)
            client.close()

        # A small receive window makes the server notice earlier.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        subscriber.leave()
        client.watch_end(ended, ENDED)
