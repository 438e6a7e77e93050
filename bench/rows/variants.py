"""Variants of other rows with one feature enabled."""

from collections.abc import Callable, Iterator, Mapping

from bench import redis
from bench.arena import Arena
from bench.context import Context
from bench.machine import cores, cores_of
from bench.results import Case, Figure, RowSkipped
from bench.rows.channels import publishing
from bench.rows.connections import per_connection
from bench.rows.fanout import delivery_figures, saturated

_MESSAGE_BYTES = 2_048
_TURNS = 5


def _require(context: Context, field: str) -> None:
    """Skip the row if our server has no such setting."""
    if context.side.ours and field not in context.fields:
        raise RowSkipped(f"This version of the server has no setting {field}.")


def tls(context: Context) -> Iterator[Case]:
    """Publish to subscribers with TLS."""
    subscribers = context.count(1_000)
    with context.arena(tls=True) as arena:
        stream = arena.stream()
        crowd, _ = arena.subscribe(subscribers, [stream])
        yield Case(
            f"{subscribers:,} connect with TLS and subscribe",
            per_connection(crowd),
            crowd.window.generator,
        )
        driver = arena.driver([stream])
        driver.saturate(context.warm_up, 1)
        window = driver.saturate(context.seconds, 1)
        arena.check()
        yield Case(
            f"1 publisher, {subscribers:,} subscribers with TLS",
            delivery_figures(window, subscribers),
            window.generator,
        )


def compression(context: Context) -> Iterator[Case]:
    """Publish with and without compression."""
    _require(context, "compression")
    for compress in (False, True):
        variables = {"REVERB_COMPRESSION": str(compress).lower()}
        with context.arena(variables=variables) as arena:
            stream = arena.stream(_MESSAGE_BYTES)
            count = context.count(1_000)
            crowd, _ = arena.subscribe(count, [stream], compress=compress)
            if compress and not all(client.compressed for client in crowd.clients):
                raise RowSkipped("The server does not negotiate permessage-deflate.")
            driver = arena.driver([stream])
            driver.saturate(context.warm_up, 1)
            begin = stream.end
            window = driver.saturate(context.seconds, 1)
            arena.check()
        each = (stream.end - begin) / window.messages
        figures = [*delivery_figures(window, count), per_connection(crowd)[1]]
        figures.append(Figure("sent", each, "bytes per message"))
        how = "compressed" if compress else "uncompressed"
        yield Case(f"2 KB {how}, {count:,} subscribers", figures, window.generator)


def metrics(context: Context) -> Iterator[Case]:
    """Publish with and without metrics."""
    if not context.side.ours:
        raise RowSkipped("Only this project's server can switch metrics on and off here.")
    _require(context, "metrics_listen")
    on = {"REVERB_METRICS_LISTEN": "tcp:0:interface=127.0.0.1"}
    variants = {"without metrics": {}, "with metrics": on}
    yield from _by_turns(context, saturated, variants)
    yield from _by_turns(context, publishing, variants)


def workers(context: Context) -> Iterator[Case]:
    """Publish to one worker, and to two."""
    if not context.side.ours:
        raise RowSkipped("Only this project's server is started with workers.")
    _require(context, "workers")
    if redis.program() is None:
        raise RowSkipped("redis-server is not installed.")
    _, generator_core = cores()
    for count in (1, 2):
        shared = redis.Redis(generator_core)
        variables = {"REVERB_REDIS_URL": shared.url, "REVERB_WORKERS": str(count)}
        words = "1 worker" if count == 1 else f"{count} workers"
        if count > 1 and generator_core in cores_of(count):
            words += ", one on the generator's core"
        try:
            with context.arena(variables=variables, nodes=count) as arena:
                # One publisher only: publications on different nodes have no common order.
                yield _named(words, saturated(context, arena, batch=10))
            with context.arena(variables=variables, nodes=count) as arena:
                yield _named(words, publishing(context, arena))
        finally:
            shared.close()


def _by_turns(
    context: Context,
    measure: Callable[[Context, Arena], Case],
    variants: Mapping[str, Mapping[str, str]],
) -> Iterator[Case]:
    """Measure variants in turns, as they differ by less than the noise.

    Yields:
        For each variant the median case, by its first figure.
    """
    cases: dict[str, list[Case]] = {words: [] for words in variants}
    for _ in range(_TURNS):
        for words, variables in variants.items():
            with context.arena(variables=variables) as arena:
                cases[words].append(measure(context, arena))
    for words, several in cases.items():
        several.sort(key=lambda case: case.figures[0].value or 0)
        yield _named(words, several[_TURNS // 2])


def _named(words: str, case: Case) -> Case:
    return Case(f"{words}: {case.label}", case.figures, case.generator)
