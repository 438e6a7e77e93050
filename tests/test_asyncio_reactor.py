"""The tests that take Twisted's asyncio reactor: a process has one reactor, so they have theirs."""

import subprocess
import sys
from pathlib import Path

from nats_server import nats_program
from redis_server import redis_program

TESTS = Path(__file__).parent


def test_what_takes_the_asyncio_reactor_passes_on_it():
    nats_program()  # Or skip, and say why, as they would.
    redis_program()
    words = [sys.executable, "-m", "pytest", "--reactor=asyncio", "-m", "asyncio_reactor", "-rs"]
    running = subprocess.run(
        [*words, str(TESTS)], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )

    print(running.stdout, running.stderr)  # noqa: T201 - shown when it fails
    assert running.returncode == 0
    assert " passed" in running.stdout
