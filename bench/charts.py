"""The charts of the report, as SVG. The same figures give the same file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from bench.results import Case
from bench.table import number

_STYLE: Any = {
    "svg.hashsalt": "reverb",  # Without it, the ids in the file are random.
    "svg.fonttype": "none",  # Text stays text, which is smaller.
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
}
_COLORS = ("#1f6feb", "#d1570c")


def draw_charts(cases: dict[str, list[Case]], directory: Path) -> list[tuple[str, str]]:
    """Draw each chart that has figures.

    Args:
        cases: Our server's cases, by row name.
        directory: The directory to write to.

    Returns:
        The file names, each with its title.
    """
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, row, title, draw in _CHARTS:
        if cases.get(row):
            with mpl.rc_context(_STYLE):
                canvas = Canvas(figsize=(6.4, 3.6), layout="constrained")
                axes = canvas.add_subplot()
                axes.margins(y=0.12)  # Room for the numbers at the points.
                draw(axes, cases[row])
                canvas.savefig(directory / name, metadata={"Date": None})
            drawn.append((name, title))
    return drawn


def _plot(axes: Any, cases: Sequence[Case], figure: str, index: int = 0) -> None:
    points = [(case.at, value) for case in cases if (value := case.value(figure)) is not None]
    axes.plot(*zip(*points, strict=True), marker="o", color=_COLORS[index], label=figure)
    for at, value in points:
        axes.annotate(
            number(value), (at, value), (0, 6), textcoords="offset points", ha="center", fontsize=8
        )


def _subscribers(axes: Any, cases: Sequence[Case]) -> None:
    axes.set_xscale("log")
    axes.set_xticks([case.at for case in cases], [f"{case.at:,.0f}" for case in cases])
    axes.minorticks_off()
    axes.set_xlabel("subscribers of the channel")


def _throughput(axes: Any, cases: Sequence[Case]) -> None:
    _subscribers(axes, cases)
    _plot(axes, cases, "deliveries")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("deliveries per second")


def _latency(axes: Any, cases: Sequence[Case]) -> None:
    _subscribers(axes, cases)
    axes.set_yscale("log")
    _plot(axes, cases, "p50")
    _plot(axes, cases, "p99", 1)
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False)


def _memory(axes: Any, cases: Sequence[Case]) -> None:
    _plot(axes, cases, "memory")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("connections")
    axes.set_ylabel("MB of memory (RSS)")


def _cpu(axes: Any, cases: Sequence[Case]) -> None:
    _plot(axes, cases, "CPU")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("publishes per second, to 1,000 subscribers")
    axes.set_ylabel("% of a core")


_CHARTS: tuple[tuple[str, str, str, Callable[[Any, Sequence[Case]], None]], ...] = (
    ("throughput.svg", "scale", "Deliveries per second against subscribers", _throughput),
    ("latency.svg", "scale", "Latency at 10 publishes a second against subscribers", _latency),
    ("memory.svg", "many-connections", "Memory against connections", _memory),
    ("cpu.svg", "rates", "CPU against publish rate", _cpu),
)
