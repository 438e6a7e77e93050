"""Programs that some tests need. Without its program a test is skipped; in CI it fails."""

import os
import shutil
from typing import NoReturn

import pytest

PROGRAMS = {
    "redis-server": "tests of several nodes",
    "nats-server": "tests of NATS",
    "node": "tests with pusher-js and Laravel Echo",
    "npm": "tests with pusher-js and Laravel Echo",
    "chromium": "tests in a browser",
    "nginx": "tests of examples/nginx.conf",
    "caddy": "tests of examples/Caddyfile",
    "systemd-analyze": "tests of examples/systemd",
    "systemd-socket-activate": "test of socket activation",
}
"""Each program that tests look for, and the tests that are skipped without it."""
_ALTERNATIVES = {
    "redis-server": ("valkey-server",),
    "chromium": ("chromium-browser", "google-chrome"),
}


def skip_missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``CI=true`` promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> str:
    """Return the path of a program of ``PROGRAMS``; skip the test without it."""
    assert name in PROGRAMS, f"{name} must be in PROGRAMS"
    return _find(name) or skip_missing(f"{name} is not installed")


def missing_programs() -> list[str]:
    """Return a line for each program of ``PROGRAMS`` that is not installed."""
    return [f"{name}, for the {tests}" for name, tests in PROGRAMS.items() if not _find(name)]


def _find(name: str) -> str | None:
    # Debian installs servers in directories that only root has in PATH.
    for path in (None, "/usr/sbin:/sbin:/lib/systemd"):
        for candidate in (name, *_ALTERNATIVES.get(name, ())):
            if program := shutil.which(candidate, path=path):
                return program
    return None
