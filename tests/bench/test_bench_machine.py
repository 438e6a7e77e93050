"""The facts about processes that the benchmark reads."""

import subprocess
import sys

from bench.machine import runs


def test_a_process_runs_until_it_ends_and_its_exit_code_is_still_there():
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.exit(int(input()))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert runs(process)
        process.stdin.write(b"7\n")
        process.stdin.close()
        while runs(process):
            pass
        assert process.wait() == 7
        assert not runs(process)
