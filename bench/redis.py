"""A private Redis for the benchmark, and its statistics."""

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import NamedTuple

from bench.machine import cpu_seconds, on_core, runs, uninterrupted
from bench.results import RowFailedError

_START_TIMEOUT = 20
_BACKGROUND = ("ping", "info", "select", "auth", "subscribe", "unsubscribe")
"""Commands of heartbeats and of this module, and those that are counted separately."""


class Work(NamedTuple):
    """The work of Redis since its start."""

    round_trips: int
    """Scripts that nodes ran; a node waits for each."""
    inside: int
    """Commands that these scripts ran."""
    publishes: int
    """Messages that nodes published, without those of scripts."""
    subscriptions: int
    bytes_in: int
    bytes_out: int
    cpu: float
    """CPU seconds."""

    def since(self, before: "Work") -> "Work":
        """Return the difference to an earlier reading."""
        return Work._make(now - then for now, then in zip(self, before, strict=True))


def program() -> str | None:
    """Return the path of redis-server or valkey-server; None if neither is installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Redis:
    """A Redis process on a free port of loopback, without persistence.

    Args:
        core: The core to run on.

    Raises:
        RowFailedError: Redis is not installed, or does not start.
    """

    def __init__(self, core: int) -> None:
        found = program()
        if found is None:
            raise RowFailedError("redis-server is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = [found, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._cleanup = ExitStack()
        try:
            with on_core(core), uninterrupted():
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
                self._cleanup.callback(_kill, process)
            self.pid = process.pid
            self._sock = self._cleanup.enter_context(self._connect(process))
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The URL for nodes."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _connect(self, process: subprocess.Popen[bytes]) -> socket.socket:
        end = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), _START_TIMEOUT)
            except OSError:
                if time.monotonic() > end or not runs(process):
                    raise RowFailedError("redis-server does not start") from None
                time.sleep(0.02)

    def close(self) -> None:
        """Kill the process."""
        self._cleanup.close()

    def work(self) -> Work:
        """Read the statistics."""
        stats = self._info("stats")
        calls = {
            name.removeprefix("cmdstat_"): int(text.partition("calls=")[2].partition(",")[0])
            for name, text in self._info("commandstats").items()
        }
        round_trips = calls.pop("evalsha", 0)
        subscriptions = calls.get("subscribe", 0)
        publishes = calls.pop("publish", 0)
        inside = sum(n for name, n in calls.items() if name.partition("|")[0] not in _BACKGROUND)
        return Work(
            round_trips,
            inside,
            publishes,
            subscriptions,
            int(stats["total_net_input_bytes"]),
            int(stats["total_net_output_bytes"]),
            cpu_seconds([self.pid]),
        )

    def _info(self, section: str) -> dict[str, str]:
        self._sock.sendall(b"INFO %b\r\n" % section.encode())
        answer = self._sock.makefile("rb")
        length = int(answer.readline()[1:])
        lines = answer.read(length + 2).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
