"""Runs the rows, and shows progress."""

import gc
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.context import Context, Ours, Side, Theirs
from bench.floor import measure_floor
from bench.machine import OtherProcesses, cores, on_core, raise_file_limit
from bench.options import Options
from bench.results import Outcome, RowFailedError, RowSkipped, Run
from bench.rows import Row
from bench.table import one_line

_FLOOR_SECONDS = 0.5
_FACTS_TIMEOUT = 30
_MIN_CONNECTIONS = 1_100
# Run by the interpreter of our server, which may differ from this one.
_FACTS = """
import platform, autobahn, twisted, reverb
from reverb.apps import App
from reverb.settings import Settings
print(f"reverb {reverb.__version__}, Python {platform.python_version()}, "
      f"Twisted {twisted.__version__}, Autobahn {autobahn.__version__}")
print(*Settings.__struct_fields__, *App.__struct_fields__)
"""


class SetupError(Exception):
    """Nothing can be measured here; the text says why."""


def run(options: Options, say: Callable[[str], None]) -> Run:
    """Run the rows.

    Args:
        options: The command line.
        say: Prints a line of progress.
    """
    most = raise_file_limit()
    if most < _MIN_CONNECTIONS:
        raise SetupError(
            f"the limit of open files (ulimit -Hn) leaves {most} for connections; "
            f"the benchmark needs at least {_MIN_CONNECTIONS}"
        )
    server_core, generator_core = cores()
    say(f"The server runs on core {server_core}, the generator on core {generator_core}.")
    if server_core == generator_core:
        say("There is only one core: both share it, so expect lower rates and higher latencies.")
    versions, fields = _facts(options.python)
    tls = options.against is not None and options.against.tls is not None
    sides: list[Side] = [Ours(options.python, server_core, options.server_options, tls=tls)]
    if options.against is not None:
        sides.append(Theirs(options.against))
        say(f"The other server is fairly compared if it is pinned to core {server_core}.")
    contexts = [Context(side, options.seconds, options.scale, most, fields) for side in sides]

    def floor() -> float:
        seconds = min(_FLOOR_SECONDS, options.seconds)
        return measure_floor(server_core, generator_core, seconds)

    others = OtherProcesses()
    with on_core(generator_core):
        outcomes = _run_rows(options.rows, contexts, floor, say)
    # The other server would count as one of them.
    load = others.fraction() if options.against is None else 0
    return Run(outcomes, [side.name for side in sides], versions, load)


def _run_rows(
    rows: Sequence[Row],
    contexts: Sequence[Context],
    measure: Callable[[], float],
    say: Callable[[str], None],
) -> list[Outcome]:
    """Run each row for each side, and measure the floor before and after."""
    outcomes = []
    after = measure()
    for index, row in enumerate(rows, 1):
        before = after
        say(f"[{index}/{len(rows)}] {row.name}")
        outcome = Outcome(row.name, row.about)
        for context in contexts:
            _run_row(row, context, outcome, say)
        after = measure()
        outcome.floor = (before + after) / 2
        outcomes.append(outcome)
    return outcomes


def _run_row(row: Row, context: Context, outcome: Outcome, say: Callable[[str], None]) -> None:
    name = context.side.name
    cases = outcome.cases[name] = []
    # The garbage collector would scan all connections in the middle of a window.
    gc.collect()
    gc.disable()
    try:
        for case in row.run(context):
            cases.append(case)
            say(f"    {name}: {one_line(case)}")
    except RowSkipped as reason:
        outcome.skipped[name] = str(reason)
        say(f"    {name}: skipped. {reason}")
    except RowFailedError as failure:
        outcome.failed.append(f"{name}: {failure}")
        say(f"    {name}: FAILED. {failure}")
    finally:
        gc.enable()


def _facts(python: Path) -> tuple[str, frozenset[str]]:
    """Return our server's versions, and the names of its settings."""
    done = subprocess.run(
        [python, "-c", _FACTS], capture_output=True, text=True, timeout=_FACTS_TIMEOUT, check=False
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise SetupError(f"{python} cannot import the server: {last[0]}")
    versions, fields = done.stdout.splitlines()
    return versions, frozenset(fields.split())
