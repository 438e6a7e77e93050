"""Runs the tests that need the asyncio reactor in a process of their own."""

import subprocess
import sys
from pathlib import Path

from tests.support.nats_server import nats_program
from tests.support.redis_server import redis_program

TESTS = Path(__file__).parent


def test_tests_marked_asyncio_reactor_pass_on_it():
    nats_program()  # Skips this test if NATS is not installed, as the others do.
    redis_program()
    command = [sys.executable, "-m", "pytest", "--reactor=asyncio", "-m", "asyncio_reactor", "-rs"]
    completed = subprocess.run(
        [*command, str(TESTS)], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )

    print(completed.stdout, completed.stderr)  # noqa: T201 - shown when it fails
    assert completed.returncode == 0
    assert " passed" in completed.stdout
