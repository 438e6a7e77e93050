"""What the servers have in common that tests start, stop and hold up."""

import os
import signal
import subprocess

BOUND = 20
"""Seconds that anything may take before its test fails."""


class ServerProcess:
    """A process that can be paused, and ended without a word.

    Attributes:
        process: It, or the last one that was started.
    """

    process: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Stop all of its threads; until then one of them may still answer."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(BOUND)
