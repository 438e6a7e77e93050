"""Writes docs/performance.md: the figures and their explanation."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from bench.machine import cpu_model
from bench.results import Run
from bench.table import markdown_table, number, remarks

_TEMPLATE = Path(__file__).with_name("performance.md.in")


def write_report(run: Run, command: str, directory: Path) -> Path:
    """Write the report and its charts.

    Args:
        run: The measurements.
        command: The command that ran the benchmark.
        directory: The directory of performance.md; charts go to its subdirectory ``performance``.
    """
    from bench.charts import draw_charts  # noqa: PLC0415 - matplotlib is slow to import

    ours = run.sides[0]
    cases = {outcome.name: outcome.cases[ours] for outcome in run.outcomes}
    charts = draw_charts(cases, directory / "performance")
    floors = [outcome.floor for outcome in run.outcomes]
    text = Template(_TEMPLATE.read_text("utf-8")).substitute(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu=cpu_model(),
        cores=os.cpu_count(),
        kernel=f"{platform.system()} {platform.release()}",
        versions=run.versions,
        floor=f"{number(min(floors))} to {number(max(floors))}",
        table=markdown_table(run),
        remarks="\n".join(f"- {remark}" for remark in remarks(run)),
        rows="\n".join(f"- `{o.name}`: {o.about}" for o in run.outcomes),
        charts="\n\n".join(f"![{title}](performance/{name})" for name, title in charts),
    )
    path = directory / "performance.md"
    path.write_text(text, "utf-8")
    return path
