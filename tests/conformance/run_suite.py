"""Runs Autobahn's test suite (its fuzzing client) against the echo node.

The suite needs Python 2.7. Without one, the program prints a message and exits with status 0.
Every case must be OK, or INFORMATIONAL where the suite makes no judgment. NON-STRICT counts as a
failure: it conforms to the standard, but no case has that result today.
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
SUITE = "autobahntestsuite == 25.10.1"  # It pins its own dependencies.
CASES = 517
VIRTUALENV = "virtualenv < 20.22"  # The last series that supports Python 2.7.
NOTHING_COMPRESSED = "UNIMPLEMENTED"
COMPRESSION_CASES = ("12.", "13.")


class Job(NamedTuple):
    """A part of the suite that runs against a node of its own."""

    name: str
    compression: bool
    cases: tuple[str, ...]


# The longest jobs first. One job runs for each processor, because client and node alternate.
JOBS = (
    Job("on-13", True, ("13.*",)),
    *(Job(f"on-12.{part}", True, (f"12.{part}.*",)) for part in range(1, 6)),
    Job("off", False, ("*",)),
    Job("on", True, tuple(f"{chapter}.*" for chapter in range(1, 11))),
)


def find_python(candidates: list[str]) -> str | None:
    """Return the first candidate that runs Python 2.7; a name on the path may be a broken shim."""
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
    """Install the suite unless it is installed already; return its interpreter."""
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
    """Run an echo node, and yield its URL."""
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
    """Run a part of the suite; return the result of each case."""
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
    if errors := log.read_text():
        raise RuntimeError(f"the node of {job.name!r} logged an error:\n{errors}")
    return json.loads(index.read_text())[job.name]


def verdict(case: str, result: dict, *, compression: bool) -> str:
    """Return a word for the result of a case."""
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
    """Print a summary of the results; return whether all cases ran and none failed."""
    verdicts = {
        case: verdict(case, result, compression=compression) for case, result in results.items()
    }
    counts = Counter(verdicts.values())
    summary = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    print(f"compression {'on' if compression else 'off'}: {len(results)} cases: {summary}")
    for case in sorted(case for case, word in verdicts.items() if word in {"failed", "non-strict"}):
        result = results[case]
        print(f"  {case}: {result['behavior']}, closing: {result['behaviorClose']}")
    if len(results) != CASES:
        print(f"  {CASES} cases were expected")
    return len(results) == CASES and not counts["failed"] + counts["non-strict"]


def main() -> int:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", type=Path, required=True, help="directory for the suite")
    parser.add_argument("--reports", type=Path, required=True, help="directory for the reports")
    parser.add_argument("pythons", nargs="+", help="candidates for a Python 2.7 interpreter")
    arguments = parser.parse_args()
    python = find_python(arguments.pythons)
    if python is None:
        tried = " ".join(arguments.pythons)
        print(f"Skipped: Autobahn's test suite needs Python 2.7; none found (tried {tried}).")
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
