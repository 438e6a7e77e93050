"""Our own server as a process: ``twistd -n reverb``, one for each case."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import children, cores_of, on_core, runs, uninterrupted
from bench.results import RowFailedError
from bench.target import App

APP = App("bench", "bench-key", "bench-secret")

_START_TIMEOUT = 20
_LISTENING = re.compile(r"listening on \S*:(\d+)\n")
_HAS_REDIS = re.compile(r"connected to Redis")
_LAST_LINES = 12


class Server:
    """A server process on a free port of loopback.

    Args:
        python: The interpreter of the environment with the server.
        core: The core to run on.
        listen: The options that name the listening address.
        options: More options of ``twistd reverb``.
        variables: Additional environment variables.
        files: Files to create in its working directory.
        nodes: The number of nodes that share a Redis, each on its own core; 0 for one node
            without Redis.

    Attributes:
        port: The listening port.
        pid: Its process, or the supervisor of its workers.
        pids: All its processes.

    Raises:
        RowFailedError: It does not start; the text quotes the end of its log.
    """

    def __init__(
        self,
        python: Path,
        core: int,
        *,
        listen: Sequence[str] = ("--port", "0"),
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
        nodes: int = 0,
    ) -> None:
        self._directory = TemporaryDirectory(prefix="reverb-bench-")
        directory = Path(self._directory.name)
        for name, content in (files or {}).items():
            (directory / name).write_bytes(content)
        self._log = directory / "server.log"
        app = ("--app-id", APP.id, "--app-key", APP.key, "--app-secret", APP.secret)
        twistd = (str(python), str(python.with_name("twistd")), "-n", "--pidfile=")
        # Like the systemd units in examples/.
        command = (*twistd, "--logger", "reverb.logs.text", "reverb")
        self._process: subprocess.Popen[bytes] | None = None
        self.pids: tuple[int, ...] = ()
        cores = cores_of(nodes) if nodes > 1 else [core]
        try:
            with self._log.open("ab") as log, on_core(*cores), uninterrupted():
                self._process = subprocess.Popen(
                    [*command, *listen, *app, *options],
                    cwd=directory,
                    env=_environment() | dict(variables or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Control-C is meant for this process, which ends the server.
                    start_new_session=True,
                )
            self.pid = self._process.pid
            self.pids = (self.pid,)
            self.port = int(self._wait_for(_LISTENING)[0])
            if nodes:
                self._wait_for(_HAS_REDIS, nodes)
                self.pids += children(self.pid)
        except BaseException:
            self.close()
            raise

    def _wait_for(self, words: re.Pattern[str], times: int = 1) -> list[str]:
        """Wait until the log matches a pattern a number of times, and return the matches."""
        end = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < end:
            found = words.findall(self._log.read_text("utf-8", "replace"))
            if len(found) >= times:
                return found
            if not self.running:
                break
            time.sleep(0.01)
        raise RowFailedError(f"the server did not start. {self.log_tail()}")

    def log_tail(self) -> str:
        """Quote the end of the log, and say whether the process has ended."""
        ended = "It runs"
        if self._process is not None and not self.running:
            ended = f"It ended with exit code {self._process.wait()}"
        lines = self._log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"{ended}; its log ends with:", *lines])

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and runs(self._process)

    def close(self) -> None:
        """Kill the process, which has nothing to save."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            # The supervisor is dead, so nothing restarts its workers.
            for worker in self.pids[1:]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        self._directory.cleanup()


def _environment() -> dict[str, str]:
    """Return the environment without ``REVERB_*`` variables."""
    return {name: text for name, text in os.environ.items() if not name.startswith("REVERB_")}
