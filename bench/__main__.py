"""The entry point of ``python -m bench``."""

import importlib.util
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from time import monotonic

from bench.options import OptionError, Options, parse
from bench.report import write_report
from bench.results import Run
from bench.runner import SetupError, run
from bench.table import remarks, text_table

_WRONG_OPTIONS = 2
_INTERRUPTED = 130


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark, and return the exit code."""
    try:
        options = _options(arguments)
        if options is None:
            return 0
        start = monotonic()
        done = run(options, _say)
    except (OptionError, SetupError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return _WRONG_OPTIONS
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is written", file=sys.stderr)
        return _INTERRUPTED
    _say(f"\n{text_table(done)}\n")
    for remark in remarks(done):
        _say(remark)
    _say(f"The whole run took {monotonic() - start:.0f} s.")
    return _conclude(done, options, arguments)


def _options(arguments: Sequence[str]) -> Options | None:
    if not sys.platform.startswith("linux"):
        raise OptionError("this needs Linux: it uses epoll, and reads /proc")
    options = parse(arguments)
    if options is not None and options.output and not importlib.util.find_spec("matplotlib"):
        raise OptionError('the charts need matplotlib: pip install "twisted-reverb[bench]"')
    return options


def _conclude(done: Run, options: Options, arguments: Sequence[str]) -> int:
    """Print the failures, or write the report."""
    failures = [(o.name, failure) for o in done.outcomes for failure in o.failed]
    for name, failure in failures:
        print(f"bench: {name} failed: {failure}", file=sys.stderr)
    if failures:
        return 1
    if options.output is not None:
        words = shlex.join(["python", "-m", "bench", *arguments])
        command = os.environ.get("BENCH_COMMAND", words)
        _say(f"Wrote {write_report(done, command, options.output)}.")
    return 0


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    # An exit runs the finally clauses, which end the processes that were started.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:]))
