"""Programs that some tests need. Without its program a test skips; in CI it fails."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"


def skip_missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where CI=true promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_node(*modules: str) -> str:
    """Return the path of Node.js, after a check that npm has installed some modules."""
    program = shutil.which("node")
    if program is None:
        skip_missing("node is not installed")
    for module in modules:
        if not (NODE_MODULES / module / "package.json").is_file():
            skip_missing(f"{module} is not installed: run npm ci in tests/e2e")
    return program


def find_chromium() -> str:
    """Return the path of Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    skip_missing("chromium is not installed")
