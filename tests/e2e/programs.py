"""The programs of third-party clients."""

from pathlib import Path

from tests.support.programs import find_program, skip_missing

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"


def find_node(*modules: str) -> str:
    """Return the path of Node.js, after a check that npm has installed some modules."""
    program = find_program("node")
    for module in modules:
        if not (NODE_MODULES / module / "package.json").is_file():
            skip_missing(f"the npm package {module} is not installed: run npm ci in tests/e2e")
    return program


def find_chromium() -> str:
    """Return the path of Chromium."""
    return find_program("chromium")
