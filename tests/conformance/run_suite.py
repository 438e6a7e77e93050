"""Runs Autobahn's test suite, its fuzzing client, against the echo node.

The suite needs Python 2.7; where none is at hand, this says so and ends well.
Every case must be OK, or INFORMATIONAL where the suite has no opinion.
NON-STRICT counts as failed: it is within the standard, but would be news.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SUITE = "autobahntestsuite == 25.10.1"  # It pins all that it needs itself.
CASES = 517
VIRTUALENV = "virtualenv < 20.22"  # The last that makes environments for Python 2.7.
NOTHING_COMPRESSED = "UNIMPLEMENTED"
COMPRESSION_CASES = ("12.", "13.")


class Job(NamedTuple):
    """A part of the suite, for a node of its own."""

    name: str
    compression: bool
    cases: tuple[str, ...]


# The longest first: one runs for each processor, as client and node wait for each other.
JOBS = (
    Job("on-13", True, ("13.*",)),
    *(Job(f"on-12.{part}", True, (f"12.{part}.*",)) for part in range(1, 6)),
    Job("off", False, ("*",)),
    Job("on", True, tuple(f"{chapter}.*" for chapter in range(1, 11))),
)


def find_python(candidates: list[str]) -> str | None:
    """Find a Python 2.7 that runs; a name on the path may be a shim that does not."""
    check = "import sys; sys.exit(sys.version_info[:2] != (2, 7))"
    for candidate in candidates:
        try:
            found = subprocess.run([candidate, "-c", check], capture_output=True, check=False)
        except OSError:
            continue
        if found.returncode == 0:
            return candidate
    return None


def install(python: str, environment: Path) -> Path:
    """Install the suite, unless it has been; return its interpreter."""
    interpreter = environment / "bin" / "python"
    stamp = environment / SUITE
    if not stamp.exists():
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([sys.executable, *pip, VIRTUALENV], check=True)
        make = ["-m", "virtualenv", "--quiet", "--clear", "--python", python, str(environment)]
        subprocess.run([sys.executable, *make], check=True)
        subprocess.run([str(interpreter), "-W", "ignore", *pip, SUITE], check=True)
        stamp.touch()
    return interpreter


@contextmanager
def echo_node(log: Path, *, compression: bool) -> Iterator[str]:
    """Run a node, and give its URL."""
    command = [sys.executable, str(HERE / "echo_node.py")]
    if compression:
        command.append("--compression")
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run(job: Job, interpreter: Path, reports: Path) -> dict[str, dict]:
    """Run a part of the suite; return what became of each case."""
    folder = reports / job.name
    folder.mkdir(parents=True, exist_ok=True)
    log, index = folder / "node.log", folder / "index.json"
    index.unlink(missing_ok=True)
    with echo_node(log, compression=job.compression) as url:
        server = {"agent": job.name, "url": url}
        spec = {"outdir": str(folder), "servers": [server], "cases": job.cases}
        spec |= {"exclude-cases": [], "exclude-agent-cases": {}}
        (folder / "spec.json").write_text(json.dumps(spec))
        wstest = ["-m", "autobahntestsuite.wstest", "-m", "fuzzingclient", "-s", "spec.json"]
        with (folder / "wstest.log").open("w") as output:
            subprocess.run(
                [str(interpreter), "-W", "ignore", *wstest],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
            )
    if complaint := log.read_text():
        raise RuntimeError(f"the node of {job.name!r} logged an error:\n{complaint}")
    return json.loads(index.read_text())[job.name]


def verdict(case: str, result: dict, *, compression: bool) -> str:
    """Say in a word what became of a case."""
    outcome = {result["behavior"], result["behaviorClose"]}
    if not compression and case.startswith(COMPRESSION_CASES):
        outcome -= {NOTHING_COMPRESSED}
        return "declined" if outcome <= {"OK"} else "failed"
    if "NON-STRICT" in outcome:
        return "non-strict"
    if not outcome <= {"OK", "INFORMATIONAL"}:
        return "failed"
    return "informational" if "INFORMATIONAL" in outcome else "passed"


def summarize(results: dict[str, dict], *, compression: bool) -> bool:
    """Print what became of all cases; return whether that is as it should be."""
    verdicts = {
        case: verdict(case, result, compression=compression) for case, result in results.items()
    }
    counts = Counter(verdicts.values())
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    print(f"compression {'on' if compression else 'off'}: {len(results)} cases: {told}")
    for case in sorted(case for case, word in verdicts.items() if word in {"failed", "non-strict"}):
        result = results[case]
        print(f"  {case}: {result['behavior']}, closing: {result['behaviorClose']}")
    if len(results) != CASES:
        print(f"  {CASES} cases were expected")
    return len(results) == CASES and not counts["failed"] + counts["non-strict"]


def main() -> int:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", type=Path, required=True, help="where the suite is put")
    parser.add_argument("--reports", type=Path, required=True, help="where the reports are put")
    parser.add_argument("pythons", nargs="+", help="what may be a Python 2.7")
    arguments = parser.parse_args()
    python = find_python(arguments.pythons)
    if python is None:
        tried = " ".join(arguments.pythons)
        print(f"Autobahn's test suite needs Python 2.7, and there is none; tried {tried}.")
        return 0
    interpreter = install(python, arguments.environment.absolute())
    reports = arguments.reports.absolute()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda job: run(job, interpreter, reports), JOBS)
        results = dict(zip(JOBS, done, strict=True))
    good = True
    for mode in (False, True):
        parts = [cases for job, cases in results.items() if job.compression is mode]
        merged = {case: result for part in parts for case, result in part.items()}
        good &= summarize(merged, compression=mode)
    print(f"Reports: {arguments.reports}/*/index.html")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
