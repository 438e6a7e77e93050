"""Figures for people: a line, a text table, a Markdown table."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from bench.results import Case, Figure, Outcome, Run

BUSY = 0.9
"""The fraction of a core above which the generator may limit the results."""
_TOLERABLY_LATE = 0.05
_LOADED = 0.1
_NOTHING = "-"


def number(value: float) -> str:
    """Format a number: a float with three significant digits, an integer with all digits."""
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def quantity(figure: Figure | None) -> str:
    """Format a figure with its unit."""
    if figure is None or figure.value is None:
        return _NOTHING
    return f"{number(figure.value)} {figure.unit}".rstrip()


def percent(part: float | None) -> str:
    """Format a fraction of a core as a percentage."""
    return _NOTHING if part is None else f"{100 * part:.0f} %"


def one_line(case: Case) -> str:
    """Format a case as a line of progress."""
    figures = ", ".join(f"{figure.name} {quantity(figure)}" for figure in case.figures)
    return f"{case.label}: {figures}; generator {percent(case.generator)}"


class Line(NamedTuple):
    """One figure of one case, for each side."""

    row: str
    label: str
    figure: str
    ours: str
    floors: str
    generator: str
    theirs: str
    ratio: str


HEADINGS = Line(
    "row", "measured", "figure", "this server", "x floor", "generator", "the other", "ratio"
)


def lines(run: Run) -> Iterator[Line]:
    """Yield the lines of a run's table."""
    for outcome in run.outcomes:
        ours, *others = (outcome.cases.get(side, []) for side in run.sides)
        theirs = others[0] if others else []
        for mine, other in zip_longest(ours, theirs):
            yield from _case_lines(outcome, mine, other)


def _case_lines(outcome: Outcome, mine: Case | None, other: Case | None) -> Iterator[Line]:
    case = mine or other
    assert case is not None
    for index, figure in enumerate(case.figures):
        own = figure if mine else None
        their = next((f for f in other.figures if f.name == figure.name), None) if other else None
        first = index == 0
        yield Line(
            row=outcome.name if first else "",
            label=case.label if first else "",
            figure=figure.name,
            ours=quantity(own),
            floors=_floors(own, outcome.floor),
            generator=percent(case.generator) if first else "",
            theirs=quantity(their),
            ratio=_ratio(own, their),
        )


def _floors(figure: Figure | None, floor: float) -> str:
    if figure is None or not figure.floored or figure.value is None or not floor:
        return ""
    return number(figure.value / floor)


def _ratio(own: Figure | None, their: Figure | None) -> str:
    if own is None or their is None or not own.value or their.value is None:
        return ""
    return number(their.value / own.value)


def text_table(run: Run) -> str:
    """Return the text table: each case, with its figures below it."""
    compared = len(run.sides) > 1
    shown: list[list[str]] = [["", *_columns(HEADINGS, compared=compared)[3:]]]
    written = []
    for line in lines(run):
        if line.label:
            written.append((len(shown), f"{line.row}: {line.label}"))
        shown.append([f"  {line.figure}", *_columns(line, compared=compared)[3:]])
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    rendered = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in shown
    ]
    for position, label in reversed(written):
        rendered.insert(position, label)
    return "\n".join(rendered)


def markdown_table(run: Run) -> str:
    """Return the Markdown table of the report, which shows our server only."""
    rows = [_columns(HEADINGS, compared=False), ["---"] * 3 + ["---:"] * 3]
    rows += [_columns(line, compared=False) for line in lines(run)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _columns(line: Line, *, compared: bool) -> list[str]:
    return list(line) if compared else list(line[:-2])


def remarks(run: Run) -> list[str]:
    """Return the remarks below the table."""
    found = []
    if run.other_load > _LOADED:
        found.append(
            f"Other processes, or the host, used {percent(run.other_load)} of the machine "
            "meanwhile: on a quiet machine CPU times are lower, and latencies much lower."
        )
    for outcome in run.outcomes:
        for side in run.sides:
            who = f"{side}: " if len(run.sides) > 1 else ""
            found += [f"{who}{outcome.name}: {remark}" for remark in _remarks(outcome, side)]
    return found


def _remarks(outcome: Outcome, side: str) -> Iterator[str]:
    if side in outcome.skipped:
        yield outcome.skipped[side]
    cases = outcome.cases.get(side, [])
    yield from dict.fromkeys(case.note for case in cases if case.note)
    latest = max((case.late for case in cases), default=0)
    if latest > _TOLERABLY_LATE:
        yield (
            f"up to {percent(latest)} of the publishes were sent late, as the server or the "
            "generator was busy; their latency counts from the due time."
        )
    busiest = max((case.generator or 0 for case in cases), default=0)
    if busiest > BUSY:
        yield (
            f"the generator used {percent(busiest)} of its core, so it may distort rates and "
            "latencies; the server's CPU time is still right."
        )
