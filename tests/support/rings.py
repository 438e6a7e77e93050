"""The rings of tests: the quick ring leaves out programs and waiting, and a run says what it skips.

A test need not say that it starts a program. In the quick ring the first attempt to start one
skips the test.
"""

import collections
import os
import sys
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from tests.support.programs import missing_programs

_STARTS = {"subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty"}
_QUICK_DESELECTS = {"slow", "long", "outside_reactor"}

settings.register_profile("quick", settings.get_profile("bounded"), max_examples=20)


def pytest_addoption(parser):
    parser.addoption(
        "--quick", action="store_true", help="run the tests that start no program and do not wait"
    )


def pytest_configure(config):
    if config.getoption("quick"):
        settings.load_profile("quick")
        sys.addaudithook(_skip_start)


def pytest_collection_modifyitems(config, items):
    """Deselect the tests that the quick ring leaves out."""
    if not config.getoption("quick"):
        return
    slow = [item for item in items if _QUICK_DESELECTS & {m.name for m in item.iter_markers()}]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Send one report for a passed test, not three and two events, to the process that prints them.

    Reports are a large part of the time of thousands of short tests.
    """
    option, is_worker = item.config.option, hasattr(item.config, "workerinput")
    if not (option.quick and is_worker) or option.durations:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            report.keywords = {}  # Nobody reads them there.
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_report_header():
    """Say at the start which tests will be skipped, because a program is not installed."""
    return [f"not installed: {line} (skipped)" for line in missing_programs()]


def pytest_terminal_summary(terminalreporter):
    """Say at the end how many tests were skipped for which reason."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(_reason(report) for report in reports)
    if reasons:
        terminalreporter.section("skipped tests")
    for reason, times in reasons.most_common():
        terminalreporter.line(f"{times:5} {reason}")


def _reason(report):
    _, _, text = report.longrepr
    return text.removeprefix("Skipped: ")


def _skip_start(event, arguments):
    """Skip the current test if it starts a program. Python calls this for each audit event."""
    if event in _STARTS and "PYTEST_CURRENT_TEST" in os.environ:
        program = Path(os.fsdecode(arguments[0])).name if arguments else "a process"
        pytest.skip(f"not in the quick ring: it starts {program}")
