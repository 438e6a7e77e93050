"""The base class of server processes that tests start, pause and kill."""

import os
import signal
import subprocess

BOUND = 20
"""Seconds after which an operation fails its test."""


class ServerProcess:
    """A server process that can be paused, resumed and killed.

    Attributes:
        process: The process that was started last.
    """

    process: subprocess.Popen[bytes]

    def pause(self) -> None:
        """Pause the process; return when all of its threads have stopped and none can answer."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process continue."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process if it is running, and wait for its end."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(BOUND)
