"""The results of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field


class RowFailedError(Exception):
    """A row detected an error of the server, such as a lost message."""


class RowSkipped(Exception):  # noqa: N818 - nothing is wrong
    """A row cannot run here; the text says why."""


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name: The name of the measurement.
        value: The number; None if it is unknown, such as CPU time without a pid.
        unit: The unit.
        floored: Whether the table also shows it as a multiple of the floor.
    """

    name: str
    value: float | None
    unit: str
    floored: bool = False


@dataclass(frozen=True)
class Case:
    """One measurement of a row.

    Attributes:
        label: A description of the workload.
        figures: The measurements.
        generator: The fraction of a core that the generator used; None if its speed does
            not matter.
        at: The position on the horizontal axis of a chart.
        late: The fraction of its publishes that were sent late.
        note: A remark for the report.
    """

    label: str
    figures: Sequence[Figure]
    generator: float | None = None
    at: float = 0
    late: float = 0
    note: str = ""

    def value(self, name: str) -> float | None:
        """Return a figure's value by its name."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


@dataclass
class Outcome:
    """The outcome of a row.

    Attributes:
        name: The row's name.
        about: A description in a sentence or two.
        floor: Microseconds of a bare send, measured before and after the row.
        cases: The cases of each side.
        skipped: The reason why a side was skipped.
        failed: The errors, with the name of the side.
    """

    name: str
    about: str
    floor: float = 0
    cases: dict[str, list[Case]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A whole run.

    Attributes:
        outcomes: The outcome of each row.
        sides: The names of the measured servers, ours first.
        versions: The versions of our server and its libraries.
        other_load: The fraction of all cores that other processes used meanwhile.
    """

    outcomes: Sequence[Outcome]
    sides: Sequence[str]
    versions: str
    other_load: float = 0
