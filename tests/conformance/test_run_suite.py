"""What the suite's results are taken for, and what happens without Python 2.7."""

import subprocess
import sys

import pytest
from run_suite import CASES, find_python, main, summarize, verdict


@pytest.fixture
def shim(tmp_path):
    """A name for Python 2.7 behind which there is none, as pyenv leaves them."""
    path = tmp_path / "python2.7"
    path.write_text("#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return str(path)


def test_where_there_is_no_python_2_it_says_so_and_ends_well(shim, tmp_path, monkeypatch, capsys):
    paths = ["--environment", str(tmp_path / "venv"), "--reports", str(tmp_path / "reports")]
    pythons = ["no-such-program", shim, sys.executable]
    monkeypatch.setattr(sys, "argv", ["run_suite.py", *paths, *pythons])
    assert main() == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "needs Python 2.7" in said
    assert not (tmp_path / "venv").exists()


def test_the_first_python_2_is_taken_that_runs(shim, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1 if command[0] == shim else 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert find_python([shim, "good", "other"]) == "good"


def result(behavior, closing="OK"):
    return {"behavior": behavior, "behaviorClose": closing}


VERDICTS = [
    ("1.1.1", result("OK"), "passed"),
    ("7.1.6", result("INFORMATIONAL", "INFORMATIONAL"), "informational"),
    ("6.4.1", result("NON-STRICT"), "non-strict"),
    ("1.1.1", result("FAILED"), "failed"),
    ("1.1.1", result("OK", "WRONG CODE"), "failed"),
    ("1.1.1", result("INFORMATIONAL", "UNCLEAN"), "failed"),
    ("1.1.1", result("UNIMPLEMENTED"), "failed"),
]


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize(("case", "outcome", "word"), VERDICTS)
def test_a_verdict(case, outcome, word, compression):
    assert verdict(case, outcome, compression=compression) == word


def test_compression_is_declined_only_where_it_is_off():
    declined = result("UNIMPLEMENTED")
    assert verdict("12.1.1", declined, compression=False) == "declined"
    assert verdict("13.1.1", result("UNIMPLEMENTED", "FAILED"), compression=False) == "failed"
    assert verdict("12.1.1", declined, compression=True) == "failed"
    assert verdict("12.1.1", result("OK"), compression=True) == "passed"


@pytest.mark.parametrize(
    ("changed", "good"),
    [({}, True), ({"3": result("FAILED")}, False), ({"3": result("NON-STRICT")}, False)],
)
def test_one_bad_case_is_named_and_fails_all(changed, good, capsys):
    results = {str(number): result("OK") for number in range(CASES)} | changed
    assert summarize(results, compression=True) is good
    assert ("\n  3: " in capsys.readouterr().out) is not good


def test_cases_that_have_not_been_run_fail_all(capsys):
    assert not summarize({"1.1.1": result("OK")}, compression=False)
    assert f"{CASES} cases were expected" in capsys.readouterr().out
