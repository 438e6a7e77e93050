"""What the rows find out."""

from collections.abc import Sequence
from dataclasses import dataclass, field


class RowFailedError(Exception):
    """A row found a mistake of the server: a message lost, a connection refused."""


class RowSkipped(Exception):  # noqa: N818 - nothing is wrong
    """A row cannot be run here; the text is a sentence that says why."""


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        name: What was measured.
        value: None where it cannot be known, as without the server's pid.
        unit: What follows the number.
        floored: Whether it is CPU time that is also given in multiples of the floor.
    """

    name: str
    value: float | None
    unit: str
    floored: bool = False


@dataclass(frozen=True)
class Case:
    """One measurement of a row.

    Attributes:
        label: What was done.
        figures: What came out.
        generator: The part of a core that the generator used; None where
            nothing depends on its speed.
        at: Where it is on the horizontal axis of a chart.
        late: The part of its publishes that were sent later than they were due.
        note: A sentence that belongs to it.
    """

    label: str
    figures: Sequence[Figure]
    generator: float | None = None
    at: float = 0
    late: float = 0
    note: str = ""

    def value(self, name: str) -> float | None:
        """Get a figure's number by its name."""
        return next((figure.value for figure in self.figures if figure.name == name), None)


@dataclass
class Outcome:
    """What became of a row.

    Attributes:
        name: The row's name.
        about: What it is, in a sentence or two.
        floor: Microseconds of one bare send, around it.
        cases: What each side did.
        skipped: Why a side was left out.
        failed: What went wrong, with the name of the side.
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
        outcomes: Of each row.
        sides: The names of those measured, ours first.
        versions: Of our server and what it runs on.
        strangers: The part of all cores that other processes used meanwhile.
    """

    outcomes: Sequence[Outcome]
    sides: Sequence[str]
    versions: str
    strangers: float = 0
