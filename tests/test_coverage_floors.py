"""The check of each file's coverage, which continuous integration runs."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / ".ci" / "coverage_floors.py"


@pytest.fixture
def floors():
    spec = importlib.util.spec_from_file_location("coverage_floors", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_file_at_the_floor_passes(floors):
    assert floors.problems({"reverb/a.py": floors.FLOOR, "reverb/b.py": 100.0}) == []


def test_a_file_below_the_floor_is_named_with_both_numbers(floors):
    (line,) = floors.problems({"reverb/a.py": 89.94})
    assert line == "reverb/a.py: the tests cover 89.9 %, and the floor is 90 %"


def test_an_exception_lowers_the_floor_of_its_file_only(floors, monkeypatch):
    monkeypatch.setitem(floors.EXCEPTIONS, "reverb/a.py", (50, "a reason"))
    assert floors.problems({"reverb/a.py": 50.0}) == []
    found = floors.problems({"reverb/a.py": 49.0, "reverb/b.py": 60.0})
    assert [line.partition(":")[0] for line in found] == ["reverb/a.py", "reverb/b.py"]


def test_an_exception_without_need_or_without_a_file_is_a_problem(floors, monkeypatch):
    monkeypatch.setitem(floors.EXCEPTIONS, "reverb/a.py", (50, "a reason"))
    monkeypatch.setitem(floors.EXCEPTIONS, "reverb/gone.py", (50, "a reason"))
    found = floors.problems({"reverb/a.py": 95.0})
    assert found == [
        "reverb/a.py: 95.0 % needs no exception, remove it",
        "reverb/gone.py: an exception, but no file",
    ]
