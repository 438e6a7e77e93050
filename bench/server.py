"""Our own server, as a process: ``twistd -n reverb``, started anew for each case."""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import on_core, uninterrupted
from bench.results import RowFailedError
from bench.target import App

APP = App("bench", "bench-key", "bench-secret")

_PATIENCE = 20
_LISTENING = re.compile(r"listening on \S*:(\d+)\n")
_LAST_LINES = 12


class Server:
    """One process, listening on a free port of loopback.

    Args:
        python: The interpreter of the environment in which it is installed.
        core: The core that it runs on.
        listen: How to tell it where to listen.
        options: More options of ``twistd reverb``.
        variables: What to add to its environment.
        files: Files for the directory in which it runs.

    Attributes:
        port: Where it listens.
        pid: Its process.

    Raises:
        RowFailedError: It does not start; with the last lines of its log.
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
    ) -> None:
        self._directory = TemporaryDirectory(prefix="reverb-bench-")
        directory = Path(self._directory.name)
        for name, content in (files or {}).items():
            (directory / name).write_bytes(content)
        self._log = directory / "server.log"
        app = ("--app-id", APP.id, "--app-key", APP.key, "--app-secret", APP.secret)
        twistd = (str(python), str(python.with_name("twistd")), "-n", "--pidfile=")
        # As the systemd units in examples/ have it.
        command = (*twistd, "--logger", "reverb.logs.text", "reverb")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with self._log.open("ab") as log, on_core(core), uninterrupted():
                self._process = subprocess.Popen(
                    [*command, *listen, *app, *options],
                    cwd=directory,
                    env=_environment() | dict(variables or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Control-C is for us; we end the server.
                    start_new_session=True,
                )
            self.pid = self._process.pid
            self.port = self._wait_until_it_listens()
        except BaseException:
            self.close()
            raise

    def _wait_until_it_listens(self) -> int:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = _LISTENING.search(self._log.read_text("utf-8", "replace"))
            if found:
                return int(found[1])
            if not self.running:
                break
            time.sleep(0.01)
        raise RowFailedError(f"the server did not start. {self.last_words()}")

    def last_words(self) -> str:
        """Quote the end of its log, and say whether it has ended."""
        code = self._process and self._process.poll()
        ended = "It runs" if code is None else f"It ended with exit code {code}"
        lines = self._log.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"{ended}; its log ends with:", *lines])

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the process. It has nothing to save, and its clients need no farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()


def _environment() -> dict[str, str]:
    """Copy the environment without what would configure the server."""
    return {name: text for name, text in os.environ.items() if not name.startswith("REVERB_")}
