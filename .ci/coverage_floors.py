"""Checks the coverage of each file, in the report that ``make coverage-check`` has written."""

import json
import sys
from pathlib import Path

FLOOR = 90
"""The lowest coverage of a file, in percent of its lines and branches."""
EXCEPTIONS: dict[str, tuple[int, str]] = {}
"""The files with a lower floor, and the reason."""
REPORT = Path("build/coverage/report.json")


def problems(files: dict[str, float]) -> list[str]:
    """Return a line for each file below its floor, and for each exception without need.

    Args:
        files: The coverage of each file, in percent.
    """
    found = []
    for name, percent in sorted(files.items()):
        floor, _ = EXCEPTIONS.get(name, (FLOOR, ""))
        if percent < floor:
            found.append(f"{name}: the tests cover {percent:.1f} %, and the floor is {floor} %")
        elif name in EXCEPTIONS and percent >= FLOOR:
            found.append(f"{name}: {percent:.1f} % needs no exception, remove it")
    found += [f"{name}: an exception, but no file" for name in sorted(EXCEPTIONS.keys() - files)]
    return found


def main() -> int:
    """Print the problems; return the exit code."""
    report = json.loads(REPORT.read_text())
    files = {name: file["summary"]["percent_covered"] for name, file in report["files"].items()}
    found = problems(files)
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(files)} files, {len(found)} problems")
    if found:
        print("build/coverage/html shows the lines and branches that no test reaches.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
