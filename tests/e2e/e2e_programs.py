"""The programs that some tests need; a test whose program is missing skips, but never in CI."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where CI=true promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {what}", pytrace=False)
    pytest.skip(what)


def node(*modules: str) -> str:
    """Find Node.js, and check that npm has installed some modules."""
    program = shutil.which("node")
    if program is None:
        missing("node is not installed")
    for module in modules:
        if not (NODE_MODULES / module / "package.json").is_file():
            missing(f"{module} is not installed: run npm ci in tests/e2e")
    return program


def chromium() -> str:
    """Find Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    missing("chromium is not installed")
