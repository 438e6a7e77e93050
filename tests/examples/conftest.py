"""Fixtures that start programs, and stop them after the test."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .programs import CREDENTIALS, TWISTD, Program

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return ``start(*words, **environment)``, which runs a program in ``tmp_path``."""
    programs: list[Program] = []
    numbers = itertools.count()

    def start(*words: str | Path, **env: str) -> Program:
        output = tmp_path / f"output-{next(numbers)}"
        program = Program(words, output, tmp_path, env)
        programs.append(program)
        return program

    yield start
    for program in reversed(programs):
        program.stop()


@pytest.fixture
def reverb(start: Start) -> Program:
    """A server on a free port, with the app of the examples' README."""
    return start(TWISTD, "--nodaemon", "--pidfile=", "reverb", *CREDENTIALS, "--port", "0")
