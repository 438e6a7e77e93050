"""Programs that some tests need. Without its program a test is skipped; in CI it fails."""

import os
import shutil
from typing import NoReturn

import pytest


def skip_missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``CI=true`` promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_program(name: str, *other_names: str) -> str:
    """Return the path of a program, which may have other names; skip the test without it."""
    # Debian installs servers in directories that only root has in PATH.
    for path in (None, "/usr/sbin:/sbin:/lib/systemd"):
        for candidate in (name, *other_names):
            if program := shutil.which(candidate, path=path):
                return program
    skip_missing(f"{name} is not installed")
