"""A Redis of the benchmark's own, and what it says that it has done."""

import shutil
import socket
import subprocess
import time
from typing import NamedTuple

from bench.machine import cpu_seconds, on_core
from bench.results import RowFailedError

_ANSWER_TIMEOUT = 20
_BACKGROUND = ("ping", "info", "select", "auth", "subscribe", "unsubscribe")
"""Commands that keep a connection alive, ask what this module asks, or are counted apart."""


class Work(NamedTuple):
    """What Redis has done since it was started."""

    round_trips: int
    """Scripts that nodes have run; each is waited for."""
    inside: int
    """Commands that these scripts have run."""
    publishes: int
    """Messages that nodes have published, scripts not counted."""
    subscriptions: int
    bytes_in: int
    bytes_out: int
    cpu: float
    """Seconds."""

    def since(self, before: "Work") -> "Work":
        """Subtract what had been done before."""
        return Work._make(now - then for now, then in zip(self, before, strict=True))


def program() -> str | None:
    """Find the program; None if it is not installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Redis:
    """One process, on a free port of loopback, that keeps nothing on disk.

    Args:
        core: The core that it runs on.

    Raises:
        RowFailedError: There is none, or it does not start.
    """

    def __init__(self, core: int) -> None:
        found = program()
        if found is None:
            raise RowFailedError("redis-server is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = [found, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        with on_core(core):
            self._process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, start_new_session=True
            )
        self.pid = self._process.pid
        self._sock = self._connect()

    @property
    def url(self) -> str:
        """Where nodes find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _connect(self) -> socket.socket:
        end = time.monotonic() + _ANSWER_TIMEOUT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), _ANSWER_TIMEOUT)
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    self._process.kill()
                    raise RowFailedError("redis-server does not start") from None
                time.sleep(0.02)

    def close(self) -> None:
        """End the process."""
        self._sock.close()
        self._process.kill()
        self._process.wait()

    def work(self) -> Work:
        """Ask what it has done; what has been asked before is all in it."""
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
