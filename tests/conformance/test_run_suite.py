"""The verdicts on the suite's results, and the behavior without Python 2.7."""

import subprocess
import sys

import pytest

from .run_suite import CASES, find_python, main, summarize, verdict


@pytest.fixture
def shim(tmp_path):
    """Make a broken shim for Python 2.7, as pyenv leaves them."""
    path = tmp_path / "python2.7"
    path.write_text("#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return str(path)


def test_without_python_2_it_prints_a_message_and_returns_0(shim, tmp_path, monkeypatch, capsys):
    paths = ["--environment", str(tmp_path / "venv"), "--reports", str(tmp_path / "reports")]
    pythons = ["no-such-program", shim, sys.executable]
    monkeypatch.setattr(sys, "argv", ["run_suite.py", *paths, *pythons])
    assert main() == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert "needs Python 2.7" in output
    assert not (tmp_path / "venv").exists()


def test_the_first_python_2_that_runs_is_used(shim, monkeypatch):
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
def test_the_verdict_on_a_case(case, outcome, word, compression):
    assert verdict(case, outcome, compression=compression) == word


def test_declined_compression_is_accepted_only_where_it_is_disabled():
    declined = result("UNIMPLEMENTED")
    assert verdict("12.1.1", declined, compression=False) == "declined"
    assert verdict("13.1.1", result("UNIMPLEMENTED", "FAILED"), compression=False) == "failed"
    assert verdict("12.1.1", declined, compression=True) == "failed"
    assert verdict("12.1.1", result("OK"), compression=True) == "passed"


@pytest.mark.parametrize(
    ("changed", "good"),
    [({}, True), ({"3": result("FAILED")}, False), ({"3": result("NON-STRICT")}, False)],
)
def test_a_failed_case_is_printed_and_fails_the_run(changed, good, capsys):
    results = {str(number): result("OK") for number in range(CASES)} | changed
    assert summarize(results, compression=True) is good
    assert ("\n  3: " in capsys.readouterr().out) is not good


def test_missing_cases_fail_the_run(capsys):
    assert not summarize({"1.1.1": result("OK")}, compression=False)
    assert f"{CASES} cases were expected" in capsys.readouterr().out
